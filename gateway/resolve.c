/* SPDX-License-Identifier: Apache-2.0 */
/* Look-ups in threads, and connecting to what they find. */
#include "gateway/resolve.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <strings.h>
#include <sys/queue.h>

#include "tls/tls.h"

enum { NAME_ROOM = 256 };

struct resolver {
	struct event_base *base;
	int pipe[2]; /* pointers to look-ups that are over */
	struct event over;
	LIST_HEAD(lookup_list, lookup)
	lookups;
	unsigned running;
	/* What no visitor is sent to by a name either. Port 0 = not known. */
	union sockaddr_any api, manager;
};

/* Belongs to its thread until that has written its address to the pipe; after that to the loop. */
struct lookup {
	int pipe; /* a duplicate of its own: the resolver may be gone */
	char host[NAME_ROOM];
	uint16_t port;
	int error; /* of getaddrinfo() */
	unsigned n;
	union sockaddr_any found[ADDRESSES_MAX];
	/* the loop's alone */
	struct caller *caller; /* NULL = nobody waits any more */
	LIST_ENTRY(lookup) link;
};

struct caller {
	struct resolver *r;
	struct lookup *lookup; /* until it is over */
	struct call call;
	char host[NAME_ROOM], name[NAME_ROOM];
	called *cb;
	void *arg;
	unsigned next, n;
	union sockaddr_any to[ADDRESSES_MAX];
	int fd;
	struct event ready; /* connected, or late, or `now` */
	struct error why;
};

/* --- look-ups ----------------------------------------------------------------------------------------------- */

static void look_up(struct lookup *l)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG},
			*list = NULL;

	l->error = getaddrinfo(l->host, NULL, &hints, &list);
	for (struct addrinfo *a = list; a && l->n < ADDRESSES_MAX; a = a->ai_next) {
		union sockaddr_any *sa = &l->found[l->n];

		if (a->ai_addrlen > sizeof(*sa) ||
		    (a->ai_family != AF_INET && a->ai_family != AF_INET6))
			continue;
		memcpy(sa, a->ai_addr, a->ai_addrlen);
		if (a->ai_family == AF_INET)
			sa->in.sin_port = htons(l->port);
		else
			sa->in6.sin6_port = htons(l->port);
		l->n++;
	}
	if (list)
		freeaddrinfo(list);
}

static void *lookup_thread(void *arg)
{
	struct lookup *l = arg;
	int fd = l->pipe;
	ssize_t n;

	look_up(l);
	/* A pipe takes a pointer whole; LOOKUPS_MAX of them fit. */
	n = write(fd, &l, sizeof(struct lookup *));
	if (n < 0)
		free(l); /* the resolver has gone */
	close(fd);
	return NULL;
}

static int start_thread(struct lookup *l)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	r = pthread_create(&thread, &attr, lookup_thread, l);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

static void looked_up(struct caller *c, const struct lookup *l);

static void on_over(int fd, short what, void *arg)
{
	struct resolver *r = arg;
	struct lookup *l;

	(void)what;
	while (read(fd, &l, sizeof(struct lookup *)) == (ssize_t)sizeof(struct lookup *)) {
		struct caller *c = l->caller;

		LIST_REMOVE(l, link);
		r->running--;
		if (c) {
			c->lookup = NULL;
			looked_up(c, l);
		}
		free(l);
	}
}

/* Where the API server is, the kubelet tells each container. */
static void find_api(struct resolver *r)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST");
	const char *port = getenv("KUBERNETES_SERVICE_PORT");
	struct ipaddr a;
	long n = port ? strtol(port, NULL, 10) : 0;

	if (host && ipaddr_parse(&a, host) == 0 && n > 0 && n <= UINT16_MAX)
		r->api = sockaddr_from(&a, (uint16_t)n);
}

int resolver_new(struct resolver **rp, struct event_base *base, struct error *e)
{
	struct resolver *r = calloc(1, sizeof(*r));

	if (!r)
		return error_errno(e, -ENOMEM, "name look-ups");
	LIST_INIT(&r->lookups);
	if (pipe2(r->pipe, O_CLOEXEC | O_NONBLOCK)) {
		free(r);
		return error_errno(e, -errno, "name look-ups");
	}
	r->base = base;
	find_api(r);
	event_assign(&r->over, base, r->pipe[0], EV_READ | EV_PERSIST, on_over, r);
	event_add(&r->over, NULL);
	*rp = r;
	return 0;
}

void resolver_free(struct resolver *r)
{
	if (!r)
		return;
	on_over(r->pipe[0], 0, r);
	event_del(&r->over);
	close(r->pipe[0]);
	close(r->pipe[1]);
	free(r);
}

static bool has_room(const struct resolver *r, const char *host)
{
	const struct lookup *l;
	unsigned same = 0;

	LIST_FOREACH (l, &r->lookups, link)
		same += !strcasecmp(l->host, host);
	return r->running < LOOKUPS_MAX && same < LOOKUPS_PER_NAME;
}

static int start_lookup(struct caller *c)
{
	struct resolver *r = c->r;
	struct lookup *l;
	int e;

	if (!has_room(r, c->host))
		return -EAGAIN;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	snprintf(l->host, sizeof(l->host), "%s", c->host);
	l->port = c->call.port;
	l->caller = c;
	l->pipe = fcntl(r->pipe[1], F_DUPFD_CLOEXEC, 0);
	e = l->pipe < 0 ? -errno : start_thread(l);
	if (e) {
		if (l->pipe >= 0)
			close(l->pipe);
		free(l);
		return e;
	}
	c->lookup = l;
	LIST_INSERT_HEAD(&r->lookups, l, link);
	r->running++;
	return 0;
}

/* --- connecting --------------------------------------------------------------------------------------------- */

/* An IPv4 address in IPv6's clothes (RFC 4291, 2.5.5; RFC 6052) is judged as what it is. */
static struct ipaddr undressed(const struct ipaddr *a)
{
	static const uint8_t nat64[12] = {0, 0x64, 0xff, 0x9b};
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	static const uint8_t compatible[12] = {0};

	if (a->family == 6 && (!memcmp(a->b, nat64, 12) || !memcmp(a->b, mapped, 12) ||
			       (!memcmp(a->b, compatible, 12) && get_be32(a->b + 12) > 1)))
		return ipaddr_v4(a->b + 12);
	return *a;
}

bool address_refused(const struct ipaddr *dressed)
{
	struct ipaddr a = undressed(dressed);

	return ipaddr_is_loopback(&a) || ipaddr_is_linklocal(&a) || ipaddr_is_multicast(&a) ||
	       ipaddr_is_unspecified(&a) || (a.family == 4 && a.b[0] == 0);
}

static bool is_at(const union sockaddr_any *ours, const struct ipaddr *a, uint16_t port)
{
	struct ipaddr own = sockaddr_ip(ours);

	return port && sockaddr_port(ours) == port && ipaddr_equal(&own, a);
}

/* NULL, or what it is that nobody is sent to. */
static const char *refused(const struct caller *c, const union sockaddr_any *to)
{
	struct ipaddr dressed = sockaddr_ip(to), a = undressed(&dressed);

	if (!c->call.guarded)
		return NULL;
	if (address_refused(&a))
		return "loopback or link-local";
	if (is_at(&c->r->api, &a, c->call.port))
		return "the API server's";
	return is_at(&c->r->manager, &a, c->call.port) ? "the manager's" : NULL;
}

static void caller_free(struct caller *c)
{
	event_del(&c->ready);
	if (c->fd >= 0)
		close(c->fd);
	if (c->lookup)
		c->lookup->caller = NULL;
	free(c);
}

void call_cancel(struct caller *c)
{
	if (c)
		caller_free(c);
}

static void end(struct caller *c, struct stream *s)
{
	c->cb(c->arg, s, s ? NULL : &c->why);
	caller_free(c);
}

static void connected(struct caller *c)
{
	struct event_base *base = c->r->base;
	const struct call *call = &c->call;
	struct stream *s;
	int r;

	if (!call->guarded) /* the one of ours alone */
		c->r->manager = c->to[c->next - 1];
	stream_tcp_options(c->fd);
	if (call->tls)
		r = tls_connect(&s, base, call->tls, c->fd, c->name, call->verify);
	else
		r = stream_from_fd(base, c->fd, &s);
	if (r) {
		error_errno(&c->why, r, "%s", c->host);
		end(c, NULL);
		return;
	}
	c->fd = -1;
	end(c, s);
}

static void try_next(struct caller *c);

static void on_ready(int fd, short what, void *arg)
{
	struct caller *c = arg;
	char text[ADDR_STRLEN];
	int error = 0;
	socklen_t len = sizeof(error);

	if (c->fd < 0) { /* what call_start() could not do */
		if (c->n)
			try_next(c);
		else
			end(c, NULL);
		return;
	}
	if (what & EV_TIMEOUT)
		error = ETIMEDOUT;
	else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len))
		error = errno;
	if (!error) {
		connected(c);
		return;
	}
	error_errno(&c->why, -error, "%s", sockaddr_format(&c->to[c->next - 1], text));
	try_next(c);
}

static int start_connect(struct caller *c, const union sockaddr_any *to)
{
	struct timeval tv = {.tv_sec = c->call.seconds ? c->call.seconds : CONNECT_SECONDS};

	c->fd = socket(to->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -errno;
	if (connect(c->fd, &to->sa, sockaddr_len(to)) && errno != EINPROGRESS)
		return -errno;
	event_assign(&c->ready, c->r->base, c->fd, EV_WRITE, on_ready, c);
	return event_add(&c->ready, &tv) ? -ENOMEM : 0;
}

static void try_next(struct caller *c)
{
	char text[ADDR_STRLEN];

	while (c->next < c->n) {
		const union sockaddr_any *to = &c->to[c->next++];
		const char *why = refused(c, to);
		int r;

		event_del(&c->ready);
		if (c->fd >= 0)
			close(c->fd);
		c->fd = -1;
		if (why) {
			error_set(&c->why, -EACCES, "%s is not served: its address %s is %s",
				  c->host, sockaddr_format(to, text), why);
			continue;
		}
		r = start_connect(c, to);
		if (r == 0)
			return;
		error_errno(&c->why, r, "%s", sockaddr_format(to, text));
	}
	end(c, NULL);
}

static void looked_up(struct caller *c, const struct lookup *l)
{
	if (l->error || !l->n) {
		error_set(&c->why, -ENOENT, "the name %s was not found (%s)", c->host,
			  l->error ? gai_strerror(l->error) : "no address");
		end(c, NULL);
		return;
	}
	memcpy(c->to, l->found, sizeof(c->to));
	c->n = l->n;
	try_next(c);
}

/* "ADDR", with or without brackets. */
static int as_address(const char *host, struct ipaddr *a)
{
	char text[NAME_ROOM];
	size_t len = strlen(host);

	if (len < 2 || *host != '[')
		return ipaddr_parse(a, host);
	snprintf(text, sizeof(text), "%.*s", (int)(len - 2), host + 1);
	return ipaddr_parse(a, text);
}

int call_start(struct caller **cp, struct resolver *r, const struct call *call, called *cb,
	       void *arg)
{
	struct timeval now = {.tv_sec = 0};
	struct caller *c;
	struct ipaddr a;
	int error = 0;

	if (strlen(call->host) >= NAME_ROOM || (call->name && strlen(call->name) >= NAME_ROOM))
		return -EINVAL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->r = r;
	c->call = *call;
	snprintf(c->host, sizeof(c->host), "%s", call->host);
	snprintf(c->name, sizeof(c->name), "%s", call->name ? call->name : call->host);
	c->cb = cb;
	c->arg = arg;
	c->fd = -1;
	event_assign(&c->ready, r->base, -1, 0, on_ready, c);
	if (as_address(call->host, &a) == 0) {
		c->to[0] = sockaddr_from(&a, call->port);
		c->n = 1;
	} else {
		error = start_lookup(c);
	}
	if (error)
		error_errno(&c->why, error, "looking up %s", c->host);
	if (c->n || error)
		event_add(&c->ready, &now);
	*cp = c;
	return 0;
}
