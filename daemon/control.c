/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's Unix socket. Two fences: the folder is ours and 0700, the socket 0600; and each
 * caller's user is asked of the kernel. A lock beside the socket makes sure that there is one
 * daemon; its holder may remove a stale socket.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/log.h"
#include "daemon/internal.h"

enum { CLIENTS_MAX = 64, ACCEPT_PAUSE_MS = 100 };

struct control_client {
	TAILQ_ENTRY(control_client) entry;
	struct control *control;
	struct rpc *rpc;
};

struct control {
	struct daemon *daemon;
	struct event *acceptable, *retry;
	int lock, sock;
	bool bound;
	unsigned n;
	TAILQ_HEAD(client_list, control_client)
	clients;
};

static void end_client(struct control_client *cl)
{
	struct control *c = cl->control;

	TAILQ_REMOVE(&c->clients, cl, entry);
	if (c->n-- == CLIENTS_MAX && c->acceptable)
		event_add(c->acceptable, NULL);
	rpc_free(cl->rpc);
	free(cl);
}

static void on_call(void *arg, struct rpc *r, const char *method, json_t *params,
		    struct rpc_request *req)
{
	struct control_client *cl = arg;

	(void)r;
	if (req)
		method_call(cl->control->daemon, cl, method, params, req);
}

static void on_closed(void *arg, struct rpc *r, int error)
{
	struct control_client *cl = arg;
	struct daemon *d = cl->control->daemon;

	(void)r;
	(void)error;
	method_client_gone(d, cl);
	end_client(cl);
	daemon_check_idle(d);
}

static const struct rpc_ops client_callbacks = {.call = on_call, .closed = on_closed};

static bool same_user(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		return false;
	if (cred.uid != getuid())
		log_warn("control: user %u is refused", (unsigned)cred.uid);
	return cred.uid == getuid();
}

static int add_client(struct control *c, int fd)
{
	cleanup(free_ptr) struct control_client *cl = calloc(1, sizeof(*cl));
	struct stream *s;

	if (!cl)
		return -ENOMEM;
	cl->control = c;
	if (stream_from_fd(c->daemon->base, fd, &s))
		return -ENOMEM;
	if (rpc_new(&cl->rpc, c->daemon->base, s, &client_callbacks, cl)) {
		s->ops->abort(s); /* and with it the descriptor */
		return 0;
	}
	TAILQ_INSERT_TAIL(&c->clients, cl, entry);
	if (++c->n == CLIENTS_MAX)
		event_del(c->acceptable);
	cl = NULL;
	return 0;
}

static void on_acceptable(evutil_socket_t sock, short what, void *arg)
{
	struct control *c = arg;
	int fd = accept4((int)sock, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	const struct timeval pause = {.tv_usec = ACCEPT_PAUSE_MS * 1000};

	(void)what;
	/* Who waits would make us run without rest. */
	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM)) {
		event_del(c->acceptable);
		evtimer_add(c->retry, &pause);
	}
	if (fd >= 0 && (!same_user(fd) || add_client(c, fd)))
		close(fd);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct control *c = arg;

	(void)fd;
	(void)what;
	if (c->n < CLIENTS_MAX)
		event_add(c->acceptable, NULL);
}

static void on_alarm(int sig)
{
	(void)sig;
}

/* A daemon that is about to end holds the lock for a moment yet: so it is waited for, a second at most. */
static int wait_lock(int fd)
{
	struct sigaction wake = {.sa_handler = on_alarm},
			 old; /* no SA_RESTART: it breaks flock() off */
	int err;

	if (!flock(fd, LOCK_EX | LOCK_NB))
		return 0;
	sigaction(SIGALRM, &wake, &old);
	alarm(1);
	err = flock(fd, LOCK_EX) ? -errno : 0;
	alarm(0);
	sigaction(SIGALRM, &old, NULL);
	return err;
}

static int take_lock(struct control *c, struct error *e)
{
	char path[340];
	int err;

	snprintf(path, sizeof(path), "%s.lock", c->daemon->dir.socket);
	c->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (c->lock < 0)
		return error_errno(e, -errno, "%s", path);
	err = wait_lock(c->lock);
	if (err == -EINTR)
		return error_set(e, -EBUSY, "a daemon already runs for this user (it holds %s)",
				 path);
	return err ? error_errno(e, err, "%s", path) : 0;
}

static int listen_socket(struct control *c, struct error *e)
{
	const char *path = c->daemon->dir.socket;
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	mode_t old;
	int err;

	memcpy(sa.sun_path, path, strlen(path) + 1); /* userdir_find: it fits */
	c->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->sock < 0)
		return error_errno(e, -errno, "socket");
	unlink(path); /* we hold the lock: whoever made it is dead */
	old = umask(0177);
	err = bind(c->sock, (struct sockaddr *)&sa, sizeof(sa)) ? -errno : 0;
	umask(old);
	c->bound = !err;
	if (!err && listen(c->sock, 16))
		err = -errno;
	return err ? error_errno(e, err, "%s", path) : 0;
}

static void free_control(struct control **cp)
{
	control_free(*cp);
}

int control_new(struct control **cp, struct daemon *d, struct error *e)
{
	cleanup(free_control) struct control *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return error_errno(e, -ENOMEM, "control socket");
	c->daemon = d;
	c->sock = c->lock = -1;
	TAILQ_INIT(&c->clients);
	err = userdir_make(&d->dir, e);
	if (!err)
		err = take_lock(c, e);
	if (!err)
		err = listen_socket(c, e);
	if (err)
		return err;
	c->acceptable = event_new(d->base, c->sock, EV_READ | EV_PERSIST, on_acceptable, c);
	c->retry = evtimer_new(d->base, on_retry, c);
	if (!c->acceptable || !c->retry || event_add(c->acceptable, NULL))
		return error_errno(e, -ENOMEM, "control socket");
	*cp = steal_ptr(c);
	return 0;
}

void control_free(struct control *c)
{
	if (!c)
		return;
	if (c->acceptable)
		event_free(c->acceptable);
	c->acceptable = NULL;
	if (c->retry)
		event_free(c->retry);
	/* The lock's file stays: removing it would let two daemons hold two files of one name. */
	if (c->bound)
		unlink(c->daemon->dir.socket);
	close_fd(&c->sock);
	close_fd(&c->lock);
	/* Last: who asked to quit may start another daemon when this closes. */
	while (!TAILQ_EMPTY(&c->clients))
		end_client(TAILQ_FIRST(&c->clients));
	free(c);
}

unsigned control_clients(const struct control *c)
{
	return c->n;
}

void control_progress(struct control_client *cl, const char *text)
{
	(void)rpc_notify(cl->rpc, "progress", json_pack("{s:s}", "text", text));
}
