/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server made of serve/, to stand in a pod: GET /overlay upgrades, and then does what the client says: a byte and a count
 * (8 bytes, big end first): 'd' sends so many bytes, 'u' takes them and sends one back, 'e' sends back what comes.
 *   serve_pod ADDR:PORT
 */
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>

#include "base/addr.h"
#include "serve/serve.h"

enum { ROOM = 256 * 1024, COMMAND = 9 };

struct guest {
	struct stream *s;
	uint8_t command[COMMAND];
	size_t command_len;
	uint64_t in, out; /* still to come, and to go */
	uint8_t *echo;
	size_t echo_len;
};

static uint8_t scratch[ROOM];

static bool begin(struct guest *g)
{
	ssize_t n = stream_read(g->s, g->command + g->command_len, COMMAND - g->command_len);
	uint64_t count;

	g->command_len += n > 0 ? (size_t)n : 0;
	if (g->command_len < COMMAND)
		return n != 0;
	count = get_be64(g->command + 1);
	g->in = *g->command == 'd' ? 0 : count;
	g->out = *g->command == 'd' ? count : 0;
	return true;
}

static bool take(struct guest *g)
{
	bool echo = *g->command == 'e';
	ssize_t n;

	if (g->echo_len)
		return true;
	n = stream_read(g->s, echo ? g->echo : scratch, (size_t)MIN(g->in, (uint64_t)ROOM));
	if (n <= 0)
		return n != 0;
	g->in -= (uint64_t)n;
	if (echo)
		g->echo_len = (size_t)n;
	else if (!g->in)
		g->out = 1;
	return true;
}

static void give(struct guest *g)
{
	ssize_t n;

	if (g->echo_len) {
		n = stream_write(g->s, g->echo, g->echo_len);
		if (n > 0) {
			g->echo_len -= (size_t)n;
			memmove(g->echo, g->echo + n, g->echo_len);
		}
	} else if (g->out) {
		n = stream_write(g->s, scratch, (size_t)MIN(g->out, (uint64_t)ROOM));
		g->out -= n > 0 ? (uint64_t)n : 0;
	}
	if (!g->out && !g->in && !g->echo_len)
		g->command_len = 0;
}

static void on_stream(struct stream *s, unsigned ev, void *arg)
{
	struct guest *g = arg;
	bool alive = !(ev & STREAM_ERROR);

	if (alive && (ev & STREAM_READABLE))
		alive = g->command_len < COMMAND ? begin(g) : !g->in || take(g);
	if (!alive) {
		s->ops->close(s);
		free(g->echo);
		free(g);
		return;
	}
	give(g);
	s->ops->want(s, g->out || g->echo_len ? STREAM_WRITABLE : STREAM_READABLE);
}

static void on_request(void *arg, struct serve_request *r)
{
	struct guest *g = calloc(1, sizeof(*g));

	(void)arg;
	g->echo = malloc(ROOM);
	if (strcmp(serve_path(r), "/overlay") == 0 && serve_websocket(r, &g->s) == 0) {
		stream_set(g->s, on_stream, g);
		g->s->ops->want(g->s, STREAM_READABLE);
		return;
	}
	free(g->echo);
	free(g);
	serve_reply(r, 200, "text/plain", "ok", 2);
}

int main(int argc, char **argv)
{
	static const struct serve_ops ops = {.request = on_request};
	struct event_base *base = event_base_new();
	union sockaddr_any sa;
	struct serve *s;
	struct error e;

	signal(SIGPIPE, SIG_IGN);
	if (argc != 2 || sockaddr_parse(&sa, argv[1]) || !base)
		return 2;
	if (serve_new(&s, base, &sa, NULL, NULL, &ops, NULL, &e)) {
		fprintf(stderr, "%s\n", e.text);
		return 1;
	}
	return event_base_dispatch(base);
}
