/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One message is one SEQPACKET record of exactly its struct's size, so there is nothing to parse: a
 * record of another size, or of another version, is refused whole.
 */
#include "privsep/privsep.h"

#include <errno.h>
#include <sys/socket.h>

enum { FDS_MAX = 4 };

union control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(FDS_MAX * sizeof(int))];
};

static int send_record(int sock, const void *data, size_t len, const int *fds, unsigned nfds)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	union control control = {0};
	ssize_t n;

	if (nfds > FDS_MAX)
		return -EINVAL;
	if (nfds) {
		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	}
	do
		n = sendmsg(sock, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EPROTO;
}

/* Takes the descriptors out of a received record: at most FDS_MAX, the room that was given. */
static unsigned take_fds(struct msghdr *msg, int fds[static FDS_MAX])
{
	unsigned n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (n < FDS_MAX)
				fds[n++] = fd;
			else
				close(fd);
		}
	}
	return n;
}

static int recv_record(int sock, void *data, size_t len, int fds[static FDS_MAX], unsigned *nfds)
{
	struct iovec iov = {.iov_base = data, .iov_len = len};
	union control control = {0};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.buf,
			     .msg_controllen = sizeof(control.buf)};
	ssize_t n;

	*nfds = 0;
	memset(data, 0, len);
	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	*nfds = take_fds(&msg, fds);
	if (n == 0)
		return -EPIPE;
	if ((size_t)n != len || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return -EPROTO;
	return 0;
}

static void close_all(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}

int privsep_send_request(int sock, const struct privsep_request *req)
{
	return send_record(sock, req, sizeof(*req), NULL, 0);
}

/* -EPROTO when descriptors come with the next record, which is then left where it is. */
static int refuse_fds(int sock)
{
	struct msghdr msg = {0};
	ssize_t n;

	do
		n = recvmsg(sock, &msg, MSG_PEEK);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	return msg.msg_flags & MSG_CTRUNC ? -EPROTO : 0;
}

int privsep_recv_request(int sock, struct privsep_request *req)
{
	int fds[FDS_MAX];
	unsigned nfds;

	memset(req, 0, sizeof(*req));
	int r = refuse_fds(sock);
	if (r)
		return r;
	r = recv_record(sock, req, sizeof(*req), fds, &nfds);
	if (r == 0 && req->version != PRIVSEP_VERSION)
		r = -EPROTO;
	return r;
}

int privsep_send_answer(int sock, const struct privsep_answer *ans, const int *fds, unsigned nfds)
{
	return send_record(sock, ans, sizeof(*ans), fds, nfds);
}

int privsep_recv_answer(int sock, struct privsep_answer *ans, int *fds, unsigned *nfds)
{
	int r = recv_record(sock, ans, sizeof(*ans), fds, nfds);

	/* The text of a helper of another version is still worth reading when the sizes agree. */
	ans->text[sizeof(ans->text) - 1] = '\0';
	ans->tun_name[sizeof(ans->tun_name) - 1] = '\0';
	for (unsigned i = 0; i < PRIVSEP_SEARCH; i++)
		ans->search[i][PRIVSEP_DOMAIN_LEN - 1] = '\0';
	if (r == 0 && (ans->version != PRIVSEP_VERSION || ans->nfds != *nfds ||
		       ans->nresolvers > PRIVSEP_RESOLVERS || ans->nsearch > PRIVSEP_SEARCH))
		r = -EPROTO;
	if (r) {
		close_all(fds, *nfds);
		*nfds = 0;
	}
	return r;
}
