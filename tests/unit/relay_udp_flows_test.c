/* SPDX-License-Identifier: Apache-2.0 */
/* UDP flows and pings through real sockets. In a network namespace of its own, loopback only. */
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/addr.h"
#include "relay/internal.h"
#include "tests/unit/relay_netns.h"

static struct event_base *base;
static bool in_netns;

enum what_to_free { NOTHING, THE_PEER, ALL };

struct seen {
	struct udp_flows *u;
	unsigned replies, refused, echoes;
	size_t len, bytes;
	uint8_t data[65536];
	struct flow flow;
	uint16_t seq;
	enum what_to_free then;
};

static int peer_1, peer_2; /* tokens */

static void after(struct seen *s)
{
	if (s->then == THE_PEER)
		udp_flows_forget_peer(s->u, &peer_1);
	if (s->then == ALL)
		udp_flows_free(steal_ptr(s->u));
}

static void on_reply(void *arg, const struct flow *flow, const uint8_t *data, size_t len)
{
	struct seen *s = arg;

	s->replies++;
	s->flow = *flow;
	s->len = len;
	s->bytes += len;
	memcpy(s->data, data, len);
	after(s);
}

static void on_refused(void *arg, const struct flow *flow)
{
	struct seen *s = arg;

	s->refused++;
	s->flow = *flow;
	after(s);
}

static void on_echo(void *arg, const struct flow *flow, uint16_t seq, const uint8_t *data,
		    size_t len)
{
	struct seen *s = arg;

	s->echoes++;
	s->flow = *flow;
	s->seq = seq;
	s->len = len;
	memcpy(s->data, data, len);
	after(s);
}

static const struct udp_flows_ops ops = {
	.reply = on_reply, .refused = on_refused, .echo_reply = on_echo};

static struct seen seen;

static void start(void)
{
	memset(&seen, 0, sizeof(seen));
	assert_int_equal(udp_flows_new(&seen.u, base, &ops, &seen), 0);
}

static void run_ms(int ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_base_loopexit(base, &tv);
	event_base_dispatch(base);
}

static void wait_for(const unsigned *counter, unsigned n)
{
	for (int i = 0; i < 200 && *counter < n; i++)
		run_ms(5);
	assert_int_equal(*counter, n);
}

static struct flow make_flow(uint16_t sport, uint16_t dport)
{
	static const uint8_t src[4] = {198, 18, 0, 9}, dst[4] = {10, 96, 0, 10};

	return (struct flow){
		.src = ipaddr_v4(src), .dst = ipaddr_v4(dst), .sport = sport, .dport = dport};
}

/* A socket on loopback that the test answers from. */
static int server(union sockaddr_any *sa)
{
	socklen_t len = sizeof(*sa);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	*sa = (union sockaddr_any){.in = {.sin_family = AF_INET}};
	sa->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_return_code(bind(fd, &sa->sa, sizeof(sa->in)), errno);
	getsockname(fd, &sa->sa, &len);
	return fd;
}

/* Receives one datagram at the server and remembers who sent it. */
static ssize_t take(int fd, void *buf, size_t len, union sockaddr_any *from)
{
	socklen_t flen = sizeof(*from);

	return recvfrom(fd, buf, len, 0, &from->sa, &flen);
}

static void send_text(const struct flow *f, const union sockaddr_any *to, const char *text,
		      void *peer)
{
	udp_flows_send(seen.u, f, to, (const uint8_t *)text, strlen(text), peer);
}

static void there_and_back(void **state)
{
	(void)state;
	union sockaddr_any sa, from, from2;
	char buf[64];
	struct flow f = make_flow(4000, 7), g = make_flow(4001, 7);
	int fd = server(&sa);

	start();
	send_text(&f, &sa, "one", &peer_1);
	assert_int_equal(take(fd, buf, sizeof(buf), &from), 3);
	assert_memory_equal(buf, "one", 3);
	sendto(fd, "answer", 6, 0, &from.sa, sizeof(from.in));
	sendto(fd, "", 0, 0, &from.sa, sizeof(from.in)); /* an empty datagram is one too */
	wait_for(&seen.replies, 2);
	assert_int_equal(seen.bytes, 6);
	assert_memory_equal(seen.data, "answer", 6);
	assert_true(flow_equal(&seen.flow, &f));

	/* The same flow keeps its socket, another one has another. */
	send_text(&f, &sa, "two", &peer_1);
	assert_int_equal(take(fd, buf, sizeof(buf), &from2), 3);
	assert_true(sockaddr_equal(&from, &from2));
	send_text(&g, &sa, "three", &peer_1);
	assert_int_equal(take(fd, buf, sizeof(buf), &from2), 5);
	assert_false(sockaddr_equal(&from, &from2));
	assert_int_equal(udp_flows_stats(seen.u)->flows, 2);
	udp_flows_free(seen.u);
	close(fd);
}

/* The largest datagram that IPv4 has, both ways. */
static void large(void **state)
{
	(void)state;
	enum { LEN = 65507 };
	static uint8_t out[LEN], in[LEN];
	union sockaddr_any sa, from;
	struct flow f = make_flow(4000, 7);
	int fd = server(&sa);

	for (size_t i = 0; i < LEN; i++)
		out[i] = (uint8_t)(i * 7 >> 3);
	start();
	udp_flows_send(seen.u, &f, &sa, out, LEN, &peer_1);
	assert_int_equal(take(fd, in, LEN, &from), LEN);
	assert_memory_equal(in, out, LEN);
	assert_int_equal(sendto(fd, in, LEN, 0, &from.sa, sizeof(from.in)), LEN);
	wait_for(&seen.replies, 1);
	assert_int_equal(seen.len, LEN);
	assert_memory_equal(seen.data, out, LEN);
	udp_flows_free(seen.u);
	close(fd);
}

/* More than one batch at once, in order and all of it. */
static void a_burst(void **state)
{
	(void)state;
	enum { N = 100 };
	union sockaddr_any sa, from;
	char buf[8];
	struct flow f = make_flow(4000, 7);
	int fd = server(&sa);

	start();
	send_text(&f, &sa, "go", &peer_1);
	assert_int_equal(take(fd, buf, sizeof(buf), &from), 2);
	for (uint8_t i = 0; i < N; i++)
		assert_int_equal(sendto(fd, &i, 1, 0, &from.sa, sizeof(from.in)), 1);
	wait_for(&seen.replies, N);
	assert_int_equal(seen.data[0], N - 1);
	udp_flows_free(seen.u);
	close(fd);
}

static void nobody_listens(void **state)
{
	(void)state;
	union sockaddr_any sa;
	struct flow f = make_flow(4000, 7);

	close(server(&sa));
	start();
	send_text(&f, &sa, "x", &peer_1);
	wait_for(&seen.refused, 1);
	assert_true(flow_equal(&seen.flow, &f));
	assert_int_equal(udp_flows_stats(seen.u)->flows, 0);

	/* The error may also be found by the next send; that datagram then still goes out. */
	send_text(&f, &sa, "x", &peer_1);
	send_text(&f, &sa, "y", &peer_1);
	assert_int_equal(seen.refused, 2);
	wait_for(&seen.refused, 3);
	udp_flows_free(seen.u);
}

static void elsewhere(void **state)
{
	(void)state;
	union sockaddr_any one, two, from;
	char buf[8];
	struct flow f = make_flow(4000, 7);
	int fd1 = server(&one), fd2 = server(&two);

	start();
	send_text(&f, &one, "a", &peer_1);
	send_text(&f, &two, "b", &peer_1);
	assert_int_equal(take(fd1, buf, sizeof(buf), &from), 1);
	assert_int_equal(take(fd2, buf, sizeof(buf), &from), 1);
	assert_int_equal(udp_flows_stats(seen.u)->flows, 1);
	udp_flows_free(seen.u);
	close(fd1);
	close(fd2);
}

static void idle_flows_end(void **state)
{
	(void)state;
	union sockaddr_any sa, from;
	char buf[8];
	struct flow f = make_flow(4000, 7), dns = make_flow(4001, 53);
	const struct udp_flows_stats *st;
	int fd = server(&sa);

	start();
	st = udp_flows_stats(seen.u);
	udp_flows_set_idle(seen.u, 200 * NSEC_PER_MSEC, 40 * NSEC_PER_MSEC);
	send_text(&f, &sa, "x", &peer_1);
	assert_int_equal(take(fd, buf, sizeof(buf), &from), 1);
	send_text(&dns, &sa, "q", &peer_1);
	assert_int_equal(take(fd, buf, sizeof(buf), &from), 1);
	run_ms(80);
	assert_int_equal(st->flows, 2); /* the question is open: the long time holds */
	sendto(fd, "a", 1, 0, &from.sa, sizeof(from.in));
	wait_for(&seen.replies, 1);
	send_text(&f, &sa, "x", &peer_1); /* used again: lives on */
	run_ms(80);
	assert_int_equal(st->flows, 1);
	run_ms(60);
	assert_int_equal(st->flows, 1); /* 220 ms after its first, 140 after its second datagram */
	run_ms(100);
	assert_int_equal(st->flows, 0);
	udp_flows_free(seen.u);
	close(fd);
}

static void bounds(void **state)
{
	(void)state;
	enum { N = UDP_FLOWS_PER_PEER };
	union sockaddr_any sa;
	const struct udp_flows_stats *st;
	int fd = server(&sa);
	struct rlimit files = {0};

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	if (files.rlim_cur < N + 64)
		skip();
	start();
	st = udp_flows_stats(seen.u);
	for (unsigned i = 0; i < N + 3; i++) {
		struct flow f = make_flow((uint16_t)(1000 + i), 7);
		send_text(&f, &sa, "x", &peer_1);
	}
	assert_int_equal(st->flows, N);
	assert_int_equal(st->limit, 3);
	assert_int_equal(st->errors, 0);
	/* Another peer still has its share, also with the same addresses. */
	struct flow f = make_flow(1000, 7);
	send_text(&f, &sa, "x", &peer_2);
	assert_int_equal(st->flows, N + 1);
	udp_flows_forget_peer(seen.u, &peer_1);
	assert_int_equal(st->flows, 1);
	send_text(&f, &sa, "x", &peer_1);
	assert_int_equal(st->flows, 2);
	udp_flows_forget_peer(seen.u, &fd); /* unknown */
	udp_flows_free(seen.u);
	close(fd);
}

/* Out of descriptors: the flow that was idle longest goes, and the new one is served. */
static void making_room(void **state)
{
	(void)state;
	union sockaddr_any sa, from;
	const struct udp_flows_stats *st;
	int fd = server(&sa), pipes[2];
	struct rlimit files = {0}, few;
	char buf[8];

	start();
	st = udp_flows_stats(seen.u);
	for (unsigned i = 0; i < 3; i++) {
		struct flow f = make_flow((uint16_t)(1000 + i), 7);
		send_text(&f, &sa, "x", &peer_1);
		assert_int_equal(take(fd, buf, sizeof(buf), &from), 1);
	}
	assert_int_equal(pipe(pipes), 0); /* the next descriptor would be after these */
	getrlimit(RLIMIT_NOFILE, &files);
	few = (struct rlimit){.rlim_cur = (rlim_t)pipes[1] + 1, .rlim_max = files.rlim_max};
	setrlimit(RLIMIT_NOFILE, &few);
	struct flow f = make_flow(2000, 7), first = make_flow(1000, 7);
	send_text(&f, &sa, "y", &peer_1);
	assert_int_equal(st->flows, 3);
	assert_int_equal(st->errors, 1); /* refused: others' flows are not ours to end */
	udp_flows_make_room(seen.u, 100);
	send_text(&f, &sa, "z", &peer_1);
	assert_int_equal(take(fd, buf, sizeof(buf), &from), 1);
	assert_int_equal(buf[0], 'z');
	assert_int_equal(st->flows, 3);
	assert_int_equal(st->limit, 1);
	assert_int_equal(udp_flows_of_peer(seen.u, &peer_1), 3);
	assert_int_equal(udp_flows_of_peer(seen.u, &peer_2), 0);
	send_text(&first, &sa, "x", &peer_1); /* it was the first that went: it is new again */
	assert_int_equal(st->limit, 2);
	setrlimit(RLIMIT_NOFILE, &files);
	udp_flows_free(seen.u);
	close(pipes[0]);
	close(pipes[1]);
	close(fd);
}

static void making_room_at_a_bound(void **state)
{
	(void)state;
	union sockaddr_any sa, from;
	const struct udp_flows_stats *st;
	int fd = server(&sa);
	char buf[8];

	start();
	st = udp_flows_stats(seen.u);
	udp_flows_make_room(seen.u, 3);
	for (unsigned i = 0; i < 10; i++) {
		struct flow f = make_flow((uint16_t)(1000 + i), 7);
		send_text(&f, &sa, "x", i % 2 ? &peer_1 : &peer_2);
		assert_int_equal(take(fd, buf, sizeof(buf), &from), 1);
		assert_int_equal(st->flows, MIN(i + 1, 3U));
	}
	assert_int_equal(st->limit, 7);
	assert_int_equal(st->errors, 0);
	udp_flows_free(seen.u);
	close(fd);
}

static void ping(void **state)
{
	(void)state;
	static uint8_t data[3000];

	if (!in_netns || !netns_allow_ping(true))
		skip();
	static const char *const hosts[] = {"127.0.0.1", "::1"};
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		struct flow f = {.sport = 0xabcd}, g = {.sport = 0x1234};
		ipaddr_parse(&f.dst, hosts[i]);
		ipaddr_parse(&f.src, i ? "fd00::9" : "198.18.0.9");
		g.src = f.src;
		g.dst = f.dst;
		for (size_t k = 0; k < sizeof(data); k++)
			data[k] = (uint8_t)k;
		start();
		udp_flows_echo(seen.u, &f, 7, data, 56, &peer_1);
		wait_for(&seen.echoes, 1);
		assert_true(
			flow_equal(&seen.flow, &f)); /* the client's identifier, not the kernel's */
		assert_int_equal(seen.seq, 7);
		assert_int_equal(seen.len, 56);
		assert_memory_equal(seen.data, data, 56);
		udp_flows_echo(seen.u, &g, 8, data, sizeof(data), &peer_1);
		wait_for(&seen.echoes, 2);
		assert_true(flow_equal(&seen.flow, &g));
		assert_int_equal(seen.len, sizeof(data));
		assert_memory_equal(seen.data, data, sizeof(data));
		assert_int_equal(udp_flows_stats(seen.u)->flows, 2);
		assert_int_equal(udp_flows_stats(seen.u)->no_ping, 0);
		udp_flows_free(seen.u);
	}
}

static void ping_not_permitted(void **state)
{
	(void)state;
	struct flow f = {.sport = 1};

	if (!in_netns || !netns_allow_ping(false))
		skip();
	ipaddr_parse(&f.dst, "127.0.0.1");
	ipaddr_parse(&f.src, "198.18.0.9");
	start();
	udp_flows_echo(seen.u, &f, 7, NULL, 0, &peer_1);
	assert_int_equal(udp_flows_stats(seen.u)->no_ping, 1);
	assert_int_equal(udp_flows_stats(seen.u)->flows, 0);
	udp_flows_free(seen.u);
}

/* Each callback frees its flow (by the peer) or everything, with more datagrams of the batch still
 * to come. */
static void freed_in_callbacks(void **state)
{
	(void)state;
	for (int then = THE_PEER; then <= ALL; then++) {
		union sockaddr_any sa, from;
		char buf[8];
		struct flow f = make_flow(4000, 7);
		int fd = server(&sa);

		start();
		seen.then = (enum what_to_free)then;
		send_text(&f, &sa, "x", &peer_1);
		assert_int_equal(take(fd, buf, sizeof(buf), &from), 1);
		for (int i = 0; i < 5; i++)
			sendto(fd, "y", 1, 0, &from.sa, sizeof(from.in));
		run_ms(20);
		assert_int_equal(seen.replies, 1);
		udp_flows_free(seen.u);
		close(fd);

		start();
		seen.then = (enum what_to_free)then;
		send_text(&f, &sa, "x", &peer_1);
		wait_for(&seen.refused, 1);
		udp_flows_free(seen.u);

		/* Also when the refusal is found inside udp_flows_send(). */
		start();
		send_text(&f, &sa, "x", &peer_1);
		seen.then = (enum what_to_free)then;
		send_text(&f, &sa, "y", &peer_1);
		assert_int_equal(seen.refused, 1);
		udp_flows_free(seen.u);
	}
}

static int setup(void **state)
{
	(void)state;
	in_netns = netns_enter();
	base = event_base_new();
	return base ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	event_base_free(base);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(large),
		cmocka_unit_test(a_burst),
		cmocka_unit_test(nobody_listens),
		cmocka_unit_test(elsewhere),
		cmocka_unit_test(idle_flows_end),
		cmocka_unit_test(bounds),
		cmocka_unit_test(making_room),
		cmocka_unit_test(making_room_at_a_bound),
		cmocka_unit_test(ping),
		cmocka_unit_test(ping_not_permitted),
		cmocka_unit_test(freed_in_callbacks),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
