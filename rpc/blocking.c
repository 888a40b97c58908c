/* SPDX-License-Identifier: Apache-2.0 */
/* One call and its answer on a blocking descriptor: what the command line needs, without a loop. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "rpc/message.h"
#include "rpc/rpc.h"

static int wait_for(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};

	return poll(&p, 1, -1) < 0 ? -errno : 0;
}

static int write_all(int fd, const uint8_t *data, size_t len)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
		int r;

		if (n < 0 && errno == EAGAIN) {
			r = wait_for(fd, POLLOUT);
			if (r)
				return r;
			continue;
		}
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static int read_all(int fd, uint8_t *data, size_t len)
{
	while (len) {
		/* poll() is interrupted even under SA_RESTART, recv() would not be. */
		int r = wait_for(fd, POLLIN);
		ssize_t n;

		if (r)
			return r;
		n = recv(fd, data, len, MSG_DONTWAIT);
		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n < 0)
			continue;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Consumes `msg`. */
static int send_message(int fd, json_t *msg)
{
	cleanup(free_ptr) char *text = msg ? json_dumps(msg, JSON_COMPACT) : NULL;
	uint8_t head[4];
	size_t len;
	int r;

	json_decref(msg);
	if (!text)
		return -ENOMEM;
	len = strlen(text);
	if (len > RPC_MAX)
		return -EMSGSIZE;
	put_be32(head, (uint32_t)len);
	r = write_all(fd, head, sizeof(head));
	return r ? r : write_all(fd, (uint8_t *)text, len);
}

static int receive_message(int fd, json_t **msg)
{
	cleanup(free_ptr) uint8_t *body = NULL;
	uint8_t head[4];
	uint32_t len;
	int r = read_all(fd, head, sizeof(head));

	if (r)
		return r;
	len = get_be32(head);
	if (len == 0 || len > RPC_MAX)
		return -EPROTO;
	body = malloc(len);
	if (!body)
		return -ENOMEM;
	r = read_all(fd, body, len);
	if (r)
		return r;
	return rpc_parse(body, len, msg) ? -EPROTO : 0;
}

int rpc_call_blocking(int fd, const char *method, json_t *params,
		      void (*note)(void *arg, const char *method, json_t *params), void *arg,
		      json_t **result, int *code, struct error *e)
{
	const json_int_t id = 1;
	int r = send_message(fd, message_call(id, method, params));

	*result = NULL;
	*code = 0;
	while (r == 0) {
		struct message m;
		json_t *msg = NULL;

		r = receive_message(fd, &msg);
		if (r)
			break;
		message_read(&m, msg);
		if (m.kind == MESSAGE_NOTE && note)
			note(arg, m.method, m.params);
		if (m.kind == MESSAGE_RESULT && json_integer_value(m.id) == id)
			*result = json_incref(m.result);
		if (m.kind == MESSAGE_ERROR)
			*code = error_set(e, m.code, "%s", m.sentence);
		json_decref(msg);
		if (*result || *code)
			return *code;
	}
	return error_errno(e, r, "the connection broke");
}
