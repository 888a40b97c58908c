/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection to culvert-helper. The messages of privsep/ are blocking; they are sent into an
 * empty socket and received when the socket is readable, so that nothing here ever waits.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "daemon/helper_client.h"

enum { ANSWER_TIMEOUT = 10 /* s */ };

struct helper_client {
	const struct helper_client_ops *ops;
	void *arg;
	struct event *readable, *timeout;
	int sock;
	uint32_t pending; /* op of the outstanding request, 0 = none */
};

const char *helper_path(void)
{
	const char *v = getenv("CULVERT_HELPER");

	return v && v[0] == '/' ? v : PRIVSEP_SOCKET;
}

const char *helper_command(void)
{
	static char text[256];
	const char *path = helper_path();
	bool usual = !strcmp(path, PRIVSEP_SOCKET);
	char user[32] = "";

	if (getuid())
		snprintf(user, sizeof(user), " --allow %u", (unsigned)getuid());
	snprintf(text, sizeof(text), "sudo culvert-helper%s%s%s", user, usual ? "" : " --socket ",
		 usual ? "" : path);
	return text;
}

static void on_readable(evutil_socket_t sock, short what, void *arg)
{
	struct helper_client *h = arg;
	struct privsep_answer ans;
	int fds[4] = {-1, -1, -1, -1};
	unsigned nfds = 0, i;
	int err = privsep_recv_answer((int)sock, &ans, fds, &nfds);

	(void)what;
	if (!err && h->pending && ans.op == h->pending) {
		h->pending = 0;
		evtimer_del(h->timeout);
		h->ops->answer(h->arg, &ans, fds, nfds);
		return;
	}
	for (i = 0; !err && i < nfds; i++)
		close(fds[i]);
	if (err == -EAGAIN)
		return;
	event_del(h->readable);
	evtimer_del(h->timeout);
	h->ops->closed(h->arg);
}

static void on_timeout(evutil_socket_t sock, short what, void *arg)
{
	struct helper_client *h = arg;

	(void)sock;
	(void)what;
	event_del(h->readable);
	h->ops->closed(h->arg);
}

static void free_client(struct helper_client **hp)
{
	helper_client_free(*hp);
}

static int connect_helper(int sock, struct error *e)
{
	const char *path = helper_path();
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct timeval soon = {.tv_sec = 1};

	if (strlen(path) >= sizeof(sa.sun_path))
		return error_set(e, -ENAMETOOLONG, "%s: too long for a socket", path);
	memcpy(sa.sun_path, path, strlen(path) + 1);
	/* Only against a helper that was stopped in the middle of a message. */
	setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof(soon));
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
	if (!connect(sock, (struct sockaddr *)&sa, sizeof(sa)))
		return 0;
	if (errno == EACCES || errno == EPERM)
		return error_set(e, -errno,
				 "culvert-helper refuses this user at %s; ask who runs it", path);
	return error_set(e, -errno,
			 "culvert-helper does not run (nothing listens at %s); start it with: %s",
			 path, helper_command());
}

int helper_client_new(struct helper_client **hp, struct event_base *base,
		      const struct helper_client_ops *ops, void *arg, struct error *e)
{
	cleanup(free_client) struct helper_client *h = calloc(1, sizeof(*h));
	int err;

	if (!h)
		return error_errno(e, -ENOMEM, "helper");
	h->ops = ops;
	h->arg = arg;
	h->sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (h->sock < 0)
		return error_errno(e, -errno, "helper: socket");
	err = connect_helper(h->sock, e);
	if (err)
		return err;
	h->readable = event_new(base, h->sock, EV_READ | EV_PERSIST, on_readable, h);
	h->timeout = evtimer_new(base, on_timeout, h);
	if (!h->readable || !h->timeout || event_add(h->readable, NULL))
		return error_errno(e, -ENOMEM, "helper");
	*hp = steal_ptr(h);
	return 0;
}

void helper_client_free(struct helper_client *h)
{
	if (!h)
		return;
	if (h->readable)
		event_free(h->readable);
	if (h->timeout)
		event_free(h->timeout);
	if (h->sock >= 0)
		close(h->sock);
	free(h);
}

int helper_client_send(struct helper_client *h, struct privsep_request *req)
{
	struct timeval limit = {.tv_sec = ANSWER_TIMEOUT};
	int err;

	if (h->pending)
		return -EBUSY;
	req->version = PRIVSEP_VERSION;
	err = privsep_send_request(h->sock, req);
	if (err)
		return err;
	h->pending = req->op;
	evtimer_add(h->timeout, &limit);
	return 0;
}
