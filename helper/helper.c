/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The helper's loop. Any user may connect; who may ask is decided by the kernel's word on who
 * connected (SO_PEERCRED). The first allowed daemon to say hello holds the helper until its socket
 * closes. One thread, one message at a time; a client that does not read its answers is dropped
 * rather than waited for.
 */
#include "helper/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/file.h"
#include "base/log.h"
#include "dns/dns.h"
#include "helper/internal.h"

enum { CLIENTS = 8 };

struct client {
	int fd; /* -1 = free */
	struct ucred who;
	uint64_t since; /* order of arrival */
};

struct helper {
	struct helper_options options;
	int listen, signals;
	struct client client[CLIENTS];
	struct client *holder; /* whose the session is */
	struct session session;
	uint64_t arrivals;
	struct log_limit strangers; /* lines about them */
};

static int undo(struct helper *h, struct error *e)
{
	nsec_t start = clock_boot();
	int r = session_undo(&h->session, e);

	if (r)
		log_warn("process %d: %s", h->holder->who.pid, e->text);
	if (r >= 0)
		log_info("process %d: all undone in %llu us", h->holder->who.pid,
			 (unsigned long long)((clock_boot() - start) / 1000));
	return MIN(r, 0);
}

static void client_close(struct helper *h, struct client *c)
{
	struct error e = {""};

	if (h->holder == c) {
		undo(h, &e);
		h->holder = NULL;
	}
	drop(c->fd);
	c->fd = -1;
}

static bool may_ask(const struct helper *h, uid_t uid)
{
	if (uid == 0)
		return true;
	for (unsigned i = 0; i < h->options.nallow; i++)
		if (h->options.allow[i] == uid)
			return true;
	return false;
}

/* A place for a new client, NULL for none. When all are taken the oldest gives way, so that idle
 * clients keep nobody out; but never the holder, and who may ask never to who may not. */
static struct client *client_place(struct helper *h, uid_t uid)
{
	struct client *out = NULL;

	for (struct client *c = h->client; c < h->client + CLIENTS; c++) {
		if (c->fd < 0)
			return c;
		bool may = may_ask(h, c->who.uid), out_may = out && may_ask(h, out->who.uid);
		if (c == h->holder || (may && !may_ask(h, uid)))
			continue;
		if (!out || may < out_may || (may == out_may && c->since < out->since))
			out = c;
	}
	if (out)
		client_close(h, out);
	return out;
}

static void client_accept(struct helper *h)
{
	struct ucred who;
	socklen_t len = sizeof(who);
	int fd = accept4(h->listen, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0) {
		close(fd);
		return;
	}
	struct client *place = client_place(h, who.uid);
	if (place)
		*place = (struct client){.fd = fd, .who = who, .since = h->arrivals++};
	else
		drop(fd);
}

/* May this client have this request served? Makes it the holder at its hello. */
static int admit(struct helper *h, struct client *c, uint32_t op, struct error *e)
{
	if (!may_ask(h, c->who.uid))
		return error_set(e, -EPERM,
				 "user %u may not use culvert-helper; it allows root and those "
				 "named by --allow",
				 c->who.uid);
	if (h->holder && h->holder != c)
		return error_set(e, -EBUSY,
				 "a culvert daemon is connected already: process %d of user %u; "
				 "`culvert quit` there ends it",
				 h->holder->who.pid, h->holder->who.uid);
	if (op == PRIVSEP_HELLO && !h->holder) {
		h->holder = c;
		h->session = (struct session){.options = &h->options, .lock = h->session.lock};
		log_info("process %d of user %u holds the helper", c->who.pid, c->who.uid);
	}
	return h->holder == c ? 0 : error_set(e, -EPROTO, "a request before hello");
}

static void serve(struct helper *h, struct client *c, const struct privsep_request *q,
		  struct privsep_answer *a, int *fds)
{
	struct error e = {""};
	int r = admit(h, c, q->op, &e);

	if (r) {
		a->code = r;
	} else if (q->op == PRIVSEP_TUN) {
		session_tun(&h->session, &q->tun, a, fds);
	} else if (q->op == PRIVSEP_ROUTES) {
		session_routes(&h->session, &q->routes, a);
	} else if (q->op == PRIVSEP_DNS) {
		session_dns(&h->session, &q->dns, a, fds);
	} else if (q->op == PRIVSEP_UNDO) {
		a->code = undo(h, &e);
	} else if (q->op != PRIVSEP_HELLO) {
		a->code = error_set(&e, -EPROTO, "unknown request %u", q->op);
	}
	if (e.text[0])
		snprintf(a->text, sizeof(a->text), "%.*s", (int)sizeof(a->text) - 1, e.text);
	if (a->code && may_ask(h, c->who.uid))
		log_warn("process %d of user %u: %s", c->who.pid, c->who.uid, a->text);
	else if (a->code) /* a stranger could fill the disk with these */
		log_limited(&h->strangers, NSEC_PER_SEC, "process %d: %s", c->who.pid, a->text);
}

static void client_readable(struct helper *h, struct client *c)
{
	struct privsep_request q;
	struct privsep_answer a = {.version = PRIVSEP_VERSION};
	int fds[4] = {-1, -1, -1, -1};
	int r = privsep_recv_request(c->fd, &q);

	if (r == -EAGAIN)
		return;
	if (r == -EPROTO) {
		/* Said to who speaks another version, then ended: the messages have no other
		 * meaning for us. */
		a.op = q.op;
		a.code = -EPROTO;
		snprintf(a.text, sizeof(a.text),
			 "culvert and culvert-helper are of different versions (the helper's "
			 "messages: %d); restart both",
			 PRIVSEP_VERSION);
		privsep_send_answer(c->fd, &a, NULL, 0);
	}
	if (r) {
		client_close(h, c);
		return;
	}
	a.op = q.op;
	serve(h, c, &q, &a, fds);
	r = privsep_send_answer(c->fd, &a, fds, a.nfds);
	for (unsigned i = 0; i < a.nfds; i++)
		close(fds[i]);
	if (r)
		client_close(h, c);
}

/* Runs until a signal asks for the end; then all is undone. */
static int loop(struct helper *h)
{
	for (;;) {
		int wait_ms = -1, names = names_poll(&h->session, &wait_ms);
		struct pollfd p[CLIENTS + 3] = {{.fd = h->signals, .events = POLLIN},
						{.fd = h->listen, .events = POLLIN},
						{.fd = names, .events = POLLIN}};

		for (int i = 0; i < CLIENTS; i++)
			p[3 + i] = (struct pollfd){.fd = h->client[i].fd, .events = POLLIN};
		if (poll(p, ARRAY_SIZE(p), wait_ms) < 0 && errno != EINTR)
			return -errno;
		if (p[0].revents)
			break;
		for (int i = 0; i < CLIENTS; i++)
			if (p[3 + i].revents)
				client_readable(h, &h->client[i]);
		names_look(&h->session);
		/* Last: it may give a client's place away, which the results above
		 * still speak of. */
		if (p[1].revents)
			client_accept(h);
	}
	for (int i = 0; i < CLIENTS; i++)
		if (h->client[i].fd >= 0)
			client_close(h, &h->client[i]);
	return 0;
}

/* --- start ------------------------------------------------------------------------------------ */

static int listen_at(const char *path, struct error *e)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	char folder[sizeof(sa.sun_path)];
	struct stat st;

	if (strlen(path) >= sizeof(sa.sun_path))
		return error_errno(e, -ENAMETOOLONG, "%s", path);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	snprintf(folder, sizeof(folder), "%s", path);
	char *slash = strrchr(folder, '/');
	if (slash && slash != folder) {
		*slash = '\0';
		int r = dir_make(folder, 0755, e);
		if (r)
			return r;
	}
	cleanup(close_fd) int fd =
		socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* A socket left by a killed helper: nobody listens, for the lock is ours. Anything else is
	 * a mistake in --socket, and bind() says so. */
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || chmod(path, 0666) < 0 ||
	    listen(fd, 16) < 0)
		return error_errno(e, -errno, "socket %s", path);
	int bound = fd;
	fd = -1;
	return bound;
}

static int signals_open(struct error *e)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int fd = signalfd(-1, &set, SFD_CLOEXEC);
	return fd < 0 ? error_errno(e, -errno, "signalfd") : fd;
}

static int start(struct helper *h, struct error *e)
{
	umask(022);
	drop_setup();
	/* What the starter left open is none of ours. */
	if (close_range(3, ~0U, 0) < 0)
		return error_errno(e, -errno, "close_range");
	for (int i = 0; i < CLIENTS; i++)
		h->client[i].fd = -1;
	int lock = guard_lock(h->options.state, e);
	if (lock < 0)
		return lock;
	h->session.lock = lock;
	int r = harden(e);
	if (r)
		return r;
	/* After a power loss there was no guard. */
	r = resolv_restore(h->options.resolv_conf, h->options.state, e);
	if (r)
		log_warn("%s", e->text);
	h->signals = signals_open(e);
	if (h->signals < 0)
		return h->signals;
	h->listen = listen_at(h->options.socket, e);
	return h->listen < 0 ? h->listen : 0;
}

static int allow(struct helper_options *o, const char *user, struct error *e)
{
	const struct passwd *pw = getpwnam(user);
	char *end;
	unsigned long uid = pw ? pw->pw_uid : strtoul(user, &end, 10);

	if (!pw && (*user < '0' || *user > '9' || *end || uid >= UINT32_MAX))
		return error_set(e, -EINVAL, "--allow %s: no such user", user);
	if (o->nallow == ARRAY_SIZE(o->allow))
		return error_set(e, -EINVAL, "--allow: at most %zu users", ARRAY_SIZE(o->allow));
	o->allow[o->nallow++] = (uid_t)uid;
	return 0;
}

static const char usage[] =
	"usage: culvert-helper [options]\n"
	"Makes the TUN device, routes and DNS settings that a culvert daemon asks for, as root, "
	"and undoes them when\n"
	"that daemon ends.\n\n"
	"  --allow USER|UID      who may use it besides root; may be given several times\n"
	"  --socket PATH         where it listens (" PRIVSEP_SOCKET ")\n"
	"  --state DIR           where what must be put back is kept (/var/lib/culvert)\n"
	"  --resolv-conf PATH    the resolver's file (/etc/resolv.conf)\n"
	"  --version, --help\n";

/* 0 = run; 1 = done, with success; negative = wrong usage. */
static int parse(struct helper_options *o, int argc, char **argv, struct error *e)
{
	static const struct option options[] = {
		{"socket", required_argument, NULL, 's'},
		{"allow", required_argument, NULL, 'a'},
		{"state", required_argument, NULL, 'd'},
		{"resolv-conf", required_argument, NULL, 'r'},
		{"foreground", no_argument, NULL, 'f'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c, r;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's':
			o->socket = optarg;
			break;
		case 'd':
			o->state = optarg;
			break;
		case 'r':
			o->resolv_conf = optarg;
			break;
		case 'a':
			r = allow(o, optarg, e);
			if (r)
				return r;
			break;
		case 'f': /* what it always does */
			break;
		case 'v':
			puts("culvert-helper " CULVERT_VERSION);
			return 1;
		case 'h':
			fputs(usage, stdout);
			return 1;
		default:
			return error_set(e, -EINVAL, "try culvert-helper --help");
		}
	}
	return optind == argc ? 0 : error_set(e, -EINVAL, "unexpected argument %s", argv[optind]);
}

int helper_main(int argc, char **argv)
{
	static struct helper h = {.options = {.socket = PRIVSEP_SOCKET,
					      .state = "/var/lib/culvert",
					      .resolv_conf = "/etc/resolv.conf"}};
	struct error e = {""};

	log_setup("culvert-helper", LOG_LEVEL_INFO);
	int r = parse(&h.options, argc, argv, &e);
	if (r > 0)
		return 0;
	if (r < 0) {
		log_error("%s", e.text);
		return 2;
	}
	r = start(&h, &e);
	if (r < 0) {
		log_error("%s", e.text);
		return 1;
	}
	log_info("listening at %s", h.options.socket);
	r = loop(&h);
	unlink(h.options.socket);
	return r < 0;
}
