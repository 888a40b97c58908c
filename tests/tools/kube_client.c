/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube/ at the command line, for the tests against a real API server. $KUBECONFIG says where.
 *   get PATH | whoami | apply PATH FIELD-MANAGER [force] <OBJECT
 *                           the body, or "FAILURE STATUS REASON: SENTENCE" and exit 1; a 403 with its right and YAML
 *   at-once PATH N          N requests at once, then N one after the other; their milliseconds
 *   watch PATH QUERY        begin, present NAME, deleted NAME, complete, trouble SENTENCE: a line each, until killed
 *   move service PATH | pod NAMESPACE POD PORT | tcp ADDR:PORT   [MEGABYTES]
 *                           to serve_pod: connect, down, up and round trip, as JSON
 */
#include <errno.h>
#include <event2/event.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/addr.h"
#include "kube/kube.h"
#include "websocket/websocket.h"

static struct event_base *base;
static struct kube_client *client;
static struct error err;

static void die(const char *why)
{
	fprintf(stderr, "%s\n", why);
	exit(1);
}

static double seconds(void)
{
	return (double)clock_boot() / (double)NSEC_PER_SEC;
}

/* --- requests ------------------------------------------------------------------------------------------- */

static void print_reply(void *arg, const struct kube_reply *r)
{
	(void)arg;
	if (!r->failure) {
		puts(r->body);
		event_base_loopbreak(base);
		return;
	}
	printf("%d %d %s: %s\n", (int)r->failure, r->status, r->reason, r->sentence);
	if (r->failure == KUBE_FORBIDDEN) {
		cleanup(free_ptr) char *yaml = kube_denied_yaml(&r->denied);

		printf("denied: %s|%s|%s|%s|%s|%s\n%s", r->denied.user, r->denied.verb,
		       r->denied.group, r->denied.resource, r->denied.name, r->denied.namespace,
		       yaml ? yaml : "no yaml\n");
	}
	exit(1);
}

static void request(const struct kube_call *call)
{
	if (kube_request(client, call, print_reply, NULL, NULL))
		die("request");
	event_base_dispatch(base);
}

static void whoami(void)
{
	static const char body[] =
		"{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"SelfSubjectReview\"}";

	request(&(struct kube_call){.method = "POST",
				    .path = "/apis/authentication.k8s.io/v1/selfsubjectreviews",
				    .body = body,
				    .len = strlen(body)});
}

static void apply(const char *path, const char *manager, bool force)
{
	json_t *o = json_loadf(stdin, 0, NULL);

	if (!o || kube_apply(client, path, o, manager, force, print_reply, NULL, NULL))
		die("apply");
	json_decref(o);
	event_base_dispatch(base);
}

static unsigned at_once_left;

static void count_reply(void *arg, const struct kube_reply *r)
{
	double *begin = arg;

	if (r->failure)
		die(r->sentence);
	printf("%.1f ", (seconds() - *begin) * 1000);
	if (--at_once_left == 0)
		event_base_loopbreak(base);
}

static void at_once(const char *path, unsigned n)
{
	struct kube_call call = {.path = path};
	double begin = seconds();

	at_once_left = n;
	for (unsigned i = 0; i < n; i++)
		kube_request(client, &call, count_reply, &begin, NULL);
	event_base_dispatch(base);
	printf("| ");
	for (unsigned i = 0; i < n; i++) {
		begin = seconds();
		at_once_left = 1;
		kube_request(client, &call, count_reply, &begin, NULL);
		event_base_dispatch(base);
	}
	puts("ms");
}

/* --- watches -------------------------------------------------------------------------------------------- */

static void on_begin(void *arg)
{
	(void)arg;
	puts("begin");
}

static void on_object(void *arg, enum kube_change change, json_t *o)
{
	json_t *meta = json_object_get(o, "metadata");

	(void)arg;
	printf("%s %s\n", change == KUBE_PRESENT ? "present" : "deleted",
	       json_string_value(json_object_get(meta, "name")));
}

static void on_complete(void *arg)
{
	(void)arg;
	puts("complete");
}

static void on_trouble(void *arg, const struct kube_reply *why)
{
	(void)arg;
	printf("trouble %s\n", why->sentence);
}

static void watch(const char *path, const char *query)
{
	static const struct kube_watch_ops ops = {
		.begin = on_begin,
		.object = on_object,
		.complete = on_complete,
		.trouble = on_trouble,
	};
	struct kube_watch *w;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (kube_watch_start(&w, client, path, query, &ops, NULL))
		die("watch");
	event_base_dispatch(base);
}

/* --- moving bytes --------------------------------------------------------------------------------------- */

enum { ROOM = 256 * 1024, ROUNDS = 2000 };

static struct stream *moving;
static uint8_t scratch[ROOM];
static uint64_t to_send, to_get;

static void on_stream(struct stream *s, unsigned ev, void *arg)
{
	ssize_t n;

	(void)arg;
	if (ev & STREAM_ERROR)
		die(*kube_stream_reason(s) ? kube_stream_reason(s) : strerror(-s->error));
	if ((ev & STREAM_READABLE) && to_get) {
		n = stream_read(s, scratch, (size_t)MIN(to_get, (uint64_t)ROOM));
		if (n == 0)
			die("the stream ended");
		to_get -= n > 0 ? (uint64_t)n : 0;
	}
	if ((ev & STREAM_WRITABLE) && to_send) {
		n = stream_write(s, scratch, (size_t)MIN(to_send, (uint64_t)ROOM));
		to_send -= n > 0 ? (uint64_t)n : 0;
	}
	s->ops->want(s, (to_get ? STREAM_READABLE : 0) | (to_send ? STREAM_WRITABLE : 0));
	if (!to_get && !to_send)
		event_base_loopbreak(base);
}

/* Sends `out` bytes and gets `in`; its seconds. */
static double move(const void *head, size_t head_len, uint64_t out, uint64_t in)
{
	double begin = seconds();

	if (head_len && stream_write(moving, head, head_len) != (ssize_t)head_len)
		die("a full stream");
	to_send = out;
	to_get = in;
	stream_set(moving, on_stream, NULL);
	moving->ops->want(moving, STREAM_READABLE | (out ? STREAM_WRITABLE : 0));
	event_base_dispatch(base);
	return seconds() - begin;
}

static int by_value(const void *a, const void *b)
{
	double d = *(const double *)a - *(const double *)b;

	return d < 0 ? -1 : d > 0;
}

static void measure(double connected, uint64_t bytes)
{
	uint8_t command[9] = {'e'};
	double round[ROUNDS], up, down;

	put_be64(command + 1, ROUNDS);
	for (unsigned i = 0; i < ROUNDS; i++)
		round[i] = move(command, i ? 0 : sizeof(command), 1, 1);
	qsort(round, ROUNDS, sizeof(*round), by_value);
	put_be64(command + 1, bytes);
	*command = 'd';
	down = move(command, sizeof(command), 0, bytes);
	*command = 'u';
	up = move(command, sizeof(command), bytes, 1);
	printf("{\"connect_ms\": %.1f, \"down_MBps\": %.0f, \"up_MBps\": %.0f, \"round_us\": %.0f, "
	       "\"round_p99_us\": %.0f}\n",
	       connected * 1000, (double)bytes / down / 1e6, (double)bytes / up / 1e6,
	       round[ROUNDS / 2] * 1e6, round[ROUNDS * 99 / 100] * 1e6);
	moving->ops->close(moving);
}

static void on_upgraded(void *arg, struct stream *s, const struct kube_reply *failure)
{
	(void)arg;
	if (!s)
		die(failure->sentence);
	moving = s;
	event_base_loopbreak(base);
}

static void on_dialled(void *arg, struct stream *s, const struct websocket_refusal *why)
{
	(void)arg;
	if (!s)
		die(*kube_stream_reason(why->carrier) ? kube_stream_reason(why->carrier)
						      : why->why);
	moving = s;
	event_base_loopbreak(base);
}

static void dial_inside(void)
{
	struct websocket_call call = {.host = "pod", .path = "/overlay", .protocol = "culvert.v1"};

	if (websocket_dial(NULL, base, moving, &call, on_dialled, NULL))
		die("dial");
	event_base_dispatch(base);
}

static void dial_tcp(const char *text)
{
	union sockaddr_any sa;
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	if (sockaddr_parse(&sa, text) || connect(fd, &sa.sa, sockaddr_len(&sa)))
		die(text);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	evutil_make_socket_nonblocking(fd);
	if (stream_from_fd(base, fd, &moving))
		die("stream");
}

static uint64_t megabytes(const char *text)
{
	return (text ? strtoull(text, NULL, 10) : 1000) * 1000000;
}

static void move_bytes(char **argv)
{
	double begin = seconds();

	if (!strcmp(argv[0], "tcp")) {
		dial_tcp(argv[1]);
		dial_inside();
		measure(seconds() - begin, megabytes(argv[2]));
	} else if (!strcmp(argv[0], "service")) {
		if (kube_upgrade(client, argv[1], NULL, "culvert.v1", 0, on_upgraded, NULL, NULL))
			die("upgrade");
		event_base_dispatch(base);
		measure(seconds() - begin, megabytes(argv[2]));
	} else {
		if (kube_port_forward(client, argv[1], argv[2], (uint16_t)atoi(argv[3]), 0,
				      on_upgraded, NULL, NULL))
			die("port-forward");
		event_base_dispatch(base);
		dial_inside();
		measure(seconds() - begin, megabytes(argv[4]));
	}
}

int main(int argc, char **argv)
{
	struct kube_flags flags = {.kubeconfig = NULL};
	struct kube_config *config = NULL;
	const char *what = argc > 1 ? argv[1] : "";

	signal(SIGPIPE, SIG_IGN);
	base = event_base_new();
	if (strcmp(what, "move") || argc < 4 || strcmp(argv[2], "tcp")) {
		if (kube_config_load(&config, &flags, &err) ||
		    kube_client_new(&client, base, config, NULL, &err))
			die(err.text);
	}
	if (!strcmp(what, "get") && argc == 3)
		request(&(struct kube_call){.path = argv[2]});
	else if (!strcmp(what, "whoami"))
		whoami();
	else if (!strcmp(what, "apply") && argc >= 4)
		apply(argv[2], argv[3], argc > 4);
	else if (!strcmp(what, "at-once") && argc == 4)
		at_once(argv[2], (unsigned)atoi(argv[3]));
	else if (!strcmp(what, "watch") && argc == 4)
		watch(argv[2], argv[3]);
	else if (!strcmp(what, "move") && argc >= 4)
		move_bytes(argv + 2);
	else
		die("see the head of tests/tools/kube_client.c");
	event_base_loop(base, EVLOOP_NONBLOCK);
	kube_client_free(client);
	event_base_free(base);
	return 0;
}
