/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The UDP transport on real sockets over loopback: batches, their boundaries, sources, errors. What
 * a kernel or device may refuse is put in its mouth here: this program's own sendmsg() stands
 * before the C library's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <event2/event.h>
#include <linux/udp.h>
#include <sys/syscall.h>

#include "transport/udp.h"

enum { RECEIVED_MAX = 1 << 21, WAIT_MS = 3000 };

struct end {
	struct transport *t;
	union sockaddr_any addr;
	uint8_t data[RECEIVED_MAX];
	size_t len, calls, datagrams, largest;
	struct path from;
	unsigned idle, unreachable;
	int error;
};

static struct event_base *base;
static struct end a, b;
static uint8_t pattern[TRANSPORT_BATCH];

/* --- the kernel's refusals --- */

static struct {
	int error;
	unsigned times;	  /* how often still; UINT32_MAX = for ever */
	bool with_gso;	  /* only super-datagrams */
	bool with_source; /* only those that name a source */
	size_t above;	  /* only longer ones */
	unsigned refused;
} refuse;

static bool has_control(const struct msghdr *m, int level, int type)
{
	struct msghdr msg = *m;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_level == level && c->cmsg_type == type)
			return true;
	return false;
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	bool gso = has_control(m, IPPROTO_UDP, UDP_SEGMENT);
	bool source = has_control(m, IPPROTO_IP, IP_PKTINFO) ||
		      has_control(m, IPPROTO_IPV6, IPV6_PKTINFO);

	if (refuse.times && (gso || !refuse.with_gso) && (source || !refuse.with_source) &&
	    m->msg_iov[0].iov_len > refuse.above) {
		if (refuse.times != UINT32_MAX)
			refuse.times--;
		refuse.refused++;
		errno = refuse.error;
		return -1;
	}
	return syscall(SYS_sendmsg, fd, m, flags);
}

/* --- two ends --- */

static void on_receive(void *arg, const struct path *from, const uint8_t *data, size_t len,
		       size_t stride)
{
	struct end *e = arg;
	volatile uint8_t touch;

	assert_true(stride > 0 && stride <= len && e->len + len <= RECEIVED_MAX);
	touch = data[-TRANSPORT_HEAD];		/* readable before */
	touch = data[len + TRANSPORT_TAIL - 1]; /* and after */
	(void)touch;
	memcpy(e->data + e->len, data, len);
	e->len += len;
	e->calls++;
	e->datagrams += (len + stride - 1) / stride;
	e->largest = MAX(e->largest, stride);
	e->from = *from;
}

static void on_idle(void *arg)
{
	((struct end *)arg)->idle++;
}

static void on_unreachable(void *arg, const struct path *to, int error)
{
	struct end *e = arg;

	e->unreachable++;
	e->error = error;
	e->from = *to;
}

static const struct transport_ops ops = {
	.receive = on_receive, .idle = on_idle, .unreachable = on_unreachable};

static void make_end(struct end *e, const char *bind)
{
	union sockaddr_any sa;
	struct error err = {0};

	memset(e, 0, sizeof(*e));
	assert_int_equal(sockaddr_parse(&sa, bind), 0);
	if (transport_udp_new(&e->t, base, &sa, 7, &ops, e, &err))
		fail_msg("%s", err.text);
	assert_int_equal(transport_local(e->t, &e->addr), 0);
}

static void make_ends(const char *bind_a, const char *bind_b)
{
	base = event_base_new();
	make_end(&a, bind_a);
	make_end(&b, bind_b);
}

static int setup(void **state)
{
	(void)state;
	memset(&refuse, 0, sizeof(refuse));
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 7 + i / 251);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	transport_free(a.t);
	transport_free(b.t);
	event_base_free(base);
	return 0;
}

static struct path path_to(const char *ip, const struct end *e)
{
	struct path p = {.transport = 7};
	struct ipaddr addr;

	assert_int_equal(ipaddr_parse(&addr, ip), 0);
	p.remote = sockaddr_from(&addr, sockaddr_port(&e->addr));
	return p;
}

/* Runs the loop until *counter has reached `want`. */
static void wait_for(const size_t *counter, size_t want)
{
	nsec_t end = clock_boot() + WAIT_MS * NSEC_PER_MSEC;

	while (*counter < want) {
		struct timeval tick = {.tv_usec = 10000};

		if (clock_boot() > end)
			fail_msg("%zu of %zu after %d ms", *counter, want, WAIT_MS);
		event_base_loopexit(base, &tick);
		event_base_loop(base, EVLOOP_ONCE);
	}
}

static void check_received(const struct end *e, size_t len)
{
	assert_int_equal(e->len, len);
	for (size_t at = 0; at < len; at += sizeof(pattern))
		assert_memory_equal(e->data + at, pattern, MIN(sizeof(pattern), len - at));
}

/* --- tests --- */

static void batch_is_one_call_each_side(void **state)
{
	struct path to;

	(void)state;
	make_ends("127.0.0.1:0", "127.0.0.1:0");
	to = path_to("127.0.0.1", &b);
	transport_send(a.t, &to, pattern, 44 * 1452 - 1000, 1452);
	wait_for(&b.len, 44 * 1452 - 1000);
	check_received(&b, 44 * 1452 - 1000);
	assert_int_equal(b.datagrams, 44);
	assert_int_equal(b.calls, 1);
	assert_int_equal(b.idle, 1);
	assert_int_equal(transport_stats(a.t)->tx_calls, 1);
	assert_int_equal(transport_stats(a.t)->tx_datagrams, 44);
	assert_int_equal(transport_stats(b.t)->rx_datagrams, 44);
	assert_int_equal(b.from.transport, 7);
	assert_true(sockaddr_equal(&b.from.remote, &a.addr));
}

/* More than the kernel takes at once, by bytes and by number. */
static void large_batches_are_split(void **state)
{
	struct path to;

	(void)state;
	make_ends("127.0.0.1:0", "127.0.0.1:0");
	to = path_to("127.0.0.1", &b);
	transport_send(a.t, &to, pattern, TRANSPORT_BATCH, 1452);
	wait_for(&b.len, TRANSPORT_BATCH);
	check_received(&b, TRANSPORT_BATCH);
	assert_int_equal(b.datagrams, 46);

	b.len = b.datagrams = b.calls = 0;
	transport_send(a.t, &to, pattern, 200 * 10 + 3, 10);
	wait_for(&b.len, 2003);
	check_received(&b, 2003);
	assert_int_equal(b.datagrams, 201);
}

static void check_one_by_one(void)
{
	struct path to = path_to("127.0.0.1", &b);

	transport_send(a.t, &to, pattern, 10 * 1000 + 1, 1000);
	wait_for(&b.len, 10001);
	check_received(&b, 10001);
	assert_int_equal(b.datagrams, 11);
	assert_int_equal(transport_stats(a.t)->tx_datagrams, 11);
	assert_int_equal(transport_stats(a.t)->tx_bytes, 10001);
}

static void gso_refused_by_device(void **state)
{
	(void)state;
	make_ends("127.0.0.1:0", "127.0.0.1:0");
	refuse.error = EIO;
	refuse.times = 1;
	refuse.with_gso = true;
	check_one_by_one();
	assert_int_equal(refuse.refused, 1);
	assert_false(udp_self(a.t)->gso); /* given up */
	assert_int_equal(transport_stats(a.t)->tx_calls, 12);
}

static void gso_refused_by_kernel(void **state)
{
	(void)state;
	make_ends("127.0.0.1:0", "127.0.0.1:0");
	refuse.error = EINVAL;
	refuse.times = UINT32_MAX;
	refuse.with_gso = true;
	check_one_by_one();
	assert_int_equal(refuse.refused, 1);
}

static void mtu_that_shrank_does_not_end_gso(void **state)
{
	(void)state;
	make_ends("127.0.0.1:0", "127.0.0.1:0");
	refuse.error = EMSGSIZE;
	refuse.times = 1;
	refuse.with_gso = true;
	check_one_by_one();
	assert_true(udp_self(a.t)->gso);
	assert_int_equal(transport_stats(a.t)->tx_too_big, 0); /* all arrived */

	struct path to = path_to("127.0.0.1", &b);

	refuse.times = 1;
	refuse.with_gso = false;
	transport_send(a.t, &to, pattern, 1000, 1000);
	assert_int_equal(transport_stats(a.t)->tx_too_big, 1);
}

/* Who sends from port 0 cannot be answered; that is not GSO's fault, and nobody else's loss. */
static void port_0_does_not_end_gso(void **state)
{
	struct path nowhere;

	(void)state;
	make_ends("127.0.0.1:0", "127.0.0.1:0");
	nowhere = path_to("127.0.0.1", &b);
	nowhere.remote.in.sin_port = 0;
	transport_send(a.t, &nowhere, pattern, 3000, 1000);
	assert_int_equal(transport_stats(a.t)->tx_errors, 3);
	assert_true(udp_self(a.t)->gso);
}

/* Neither GSO nor GRO: the same bytes, more calls. */
static void without_offloads_all_arrives(void **state)
{
	struct path to;
	int off = 0;

	(void)state;
	make_ends("127.0.0.1:0", "127.0.0.1:0");
	to = path_to("127.0.0.1", &b);
	udp_self(a.t)->gso = false;
	assert_int_equal(setsockopt(udp_self(b.t)->fd, IPPROTO_UDP, UDP_GRO, &off, sizeof(off)), 0);
	transport_send(a.t, &to, pattern, TRANSPORT_BATCH, 1452);
	wait_for(&b.len, TRANSPORT_BATCH);
	check_received(&b, TRANSPORT_BATCH);
	assert_int_equal(b.calls, 46);
	assert_int_equal(b.largest, 1452);
	assert_true(b.idle < b.calls);
}

static void full_buffer_waits_in_order(void **state)
{
	struct path to;

	(void)state;
	make_ends("127.0.0.1:0", "127.0.0.1:0");
	to = path_to("127.0.0.1", &b);
	transport_send(a.t, &to, pattern, 100, 100);
	refuse.error = EAGAIN;
	refuse.times = 3;
	for (unsigned i = 1; i < 8;
	     i++) /* the first meets the full buffer, the others line up behind it */
		transport_send(a.t, &to, pattern + i * 1000, 1000, 250);
	assert_int_equal(transport_stats(a.t)->tx_datagrams, 1);
	assert_int_equal(refuse.refused, 1);
	wait_for(&b.len, 7100);
	assert_memory_equal(b.data, pattern, 100);
	assert_memory_equal(b.data + 100, pattern + 1000, 7000);
	assert_int_equal(transport_stats(a.t)->tx_full, 0);
	assert_null(udp_self(a.t)->backlog);
	assert_int_equal(udp_self(a.t)->backlog_bytes, 0);
}

static void backlog_is_bounded(void **state)
{
	struct path to;
	uint64_t dropped;

	(void)state;
	make_ends("127.0.0.1:0", "127.0.0.1:0");
	to = path_to("127.0.0.1", &b);
	refuse.error = EAGAIN;
	refuse.times = UINT32_MAX;
	for (unsigned i = 0; i < 40; i++)
		transport_send(a.t, &to, pattern, 40 * 1000, 1000);
	assert_in_range(udp_self(a.t)->backlog_bytes, BACKLOG_MAX - 40000, BACKLOG_MAX);
	dropped = transport_stats(a.t)->tx_full;
	assert_int_equal(dropped, 40 * 40 - udp_self(a.t)->backlog_bytes / 1000);
	/* freed with a backlog: the leak checker looks */
}

static void dropped_by_the_device_is_counted(void **state)
{
	struct path to;

	(void)state;
	make_ends("127.0.0.1:0", "127.0.0.1:0");
	to = path_to("127.0.0.1", &b);
	refuse.error = ENOBUFS;
	refuse.times = 1;
	transport_send(a.t, &to, pattern, 4000, 1000);
	assert_int_equal(transport_stats(a.t)->tx_full, 4);
	assert_int_equal(transport_stats(a.t)->tx_datagrams, 0);
}

static void answer_leaves_from_the_address_asked(void **state)
{
	struct path to, back;
	char text[ADDR_STRLEN];

	(void)state;
	make_ends("127.0.0.1:0", "[::]:0");
	to = path_to("127.0.0.9", &b);
	transport_send(a.t, &to, pattern, 10, 10);
	wait_for(&b.len, 10);
	assert_string_equal(ipaddr_format(&b.from.local, text), "127.0.0.9");
	assert_int_equal(b.from.remote.sa.sa_family, AF_INET); /* not mapped */
	back = b.from;
	transport_send(b.t, &back, pattern, 5000, 1000);
	wait_for(&a.len, 5000);
	assert_true(path_equal(&a.from, &to));
	assert_int_equal(a.datagrams, 5);

	/* After a change of network only addresses that are seen again count;
	 * the kernel chooses. */
	transport_rebind(b.t);
	transport_send(b.t, &back, pattern, 10, 10);
	wait_for(&a.len, 5010);
	struct ipaddr ip = sockaddr_ip(&a.from.remote);
	assert_string_equal(ipaddr_format(&ip, text), "127.0.0.1");
}

static void source_that_is_gone_is_forgotten(void **state)
{
	struct path back;

	(void)state;
	make_ends("127.0.0.1:0", "[::]:0");
	back = path_to("127.0.0.1", &a);
	back.local = ipaddr_v4((uint8_t[]){192, 0, 2, 1}); /* is nobody's here */
	udp_source_learn(udp_self(b.t), &back.local);
	transport_send(b.t, &back, pattern, 5000, 1000);
	wait_for(&a.len, 5000);
	assert_false(udp_source_known(udp_self(b.t), &back.local));
	assert_true(udp_self(b.t)->gso); /* not what was wrong */
	assert_int_equal(transport_stats(b.t)->tx_errors, 0);
}

static void one_socket_serves_both_families(void **state)
{
	struct path to4, to6;

	(void)state;
	make_ends("[::]:0", "[::]:0");
	to4 = path_to("127.0.0.1", &b);
	to6 = path_to("::1", &b);
	transport_send(a.t, &to4, pattern, 3000, 1000);
	wait_for(&b.len, 3000);
	assert_int_equal(b.from.remote.sa.sa_family, AF_INET);
	transport_send(a.t, &to6, pattern, 3000, 1000);
	wait_for(&b.len, 6000);
	assert_int_equal(b.from.remote.sa.sa_family, AF_INET6);
	assert_int_equal(b.datagrams, 6);
}

static void check_refused(const char *bind_a, const char *ip)
{
	struct path to, other;
	nsec_t end = clock_boot() + WAIT_MS * NSEC_PER_MSEC;

	make_ends(bind_a, strchr(ip, ':') ? "[::1]:0" : "127.0.0.1:0");
	to = path_to(ip, &b);
	transport_free(b.t);
	transport_send(a.t, &to, pattern, 100, 100);
	while (!a.unreachable && clock_boot() < end)
		event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(a.unreachable, 1);
	assert_int_equal(a.error, -ECONNREFUSED);
	assert_true(path_equal(&a.from, &to));

	/* The error of one destination costs others nothing,
	 * even if it is reported in their call. */
	make_end(&b, strchr(ip, ':') ? "[::1]:0" : "127.0.0.1:0");
	other = path_to(ip, &b);
	transport_send(a.t, &to, pattern, 100, 100);
	transport_send(a.t, &other, pattern, 3000, 1000);
	wait_for(&b.len, 3000);
	assert_int_equal(b.datagrams, 3);
	assert_int_equal(transport_stats(a.t)->tx_errors, 0);
	/* The queue is empty again: the socket no longer wakes the loop. */
	for (int i = 0; i < 5; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
	char control[512];
	struct msghdr msg = {.msg_control = control, .msg_controllen = sizeof(control)};
	assert_int_equal(recvmsg(udp_self(a.t)->fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

static void refused_is_told(void **state)
{
	(void)state;
	check_refused("127.0.0.1:0", "127.0.0.1");
}

static void refused_is_told_on_dual_socket(void **state)
{
	(void)state;
	check_refused("[::]:0", "127.0.0.1");
}

static void refused_is_told_ipv6(void **state)
{
	(void)state;
	check_refused("[::]:0", "::1");
}

static void mtu_is_the_kernels(void **state)
{
	struct path to;

	(void)state;
	make_ends("[::]:0", "[::]:0");
	to = path_to("127.0.0.1", &b);
	assert_int_equal(transport_mtu(a.t, &to), 65535 - 48); /* lo has 65536 */
	for (unsigned i = 0; i < MTU_SLOTS; i++)
		udp_self(a.t)->mtu[i].payload = 1000;
	assert_int_equal(transport_mtu(a.t, &to), 1000); /* kept */
	transport_rebind(a.t);
	assert_int_equal(transport_mtu(a.t, &to), 65535 - 48);
	/* an address that no route leads to: a careful guess */
	to = path_to("::1", &b);
	to.remote.in6.sin6_addr.s6_addr[0] = 0xff;
	assert_in_range(transport_mtu(a.t, &to), 548, 65487);
}

static void port_taken_is_told(void **state)
{
	struct transport *t = NULL;
	struct error e = {0};
	char text[ADDR_STRLEN];

	(void)state;
	make_ends("127.0.0.1:0", "127.0.0.1:0");
	assert_int_equal(transport_udp_new(&t, base, &a.addr, 0, &ops, NULL, &e), -EADDRINUSE);
	assert_null(t);
	assert_non_null(strstr(e.text, sockaddr_format(&a.addr, text)));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(batch_is_one_call_each_side),
		TEST(large_batches_are_split),
		TEST(gso_refused_by_device),
		TEST(gso_refused_by_kernel),
		TEST(mtu_that_shrank_does_not_end_gso),
		TEST(port_0_does_not_end_gso),
		TEST(without_offloads_all_arrives),
		TEST(full_buffer_waits_in_order),
		TEST(backlog_is_bounded),
		TEST(dropped_by_the_device_is_counted),
		TEST(answer_leaves_from_the_address_asked),
		TEST(source_that_is_gone_is_forgotten),
		TEST(one_socket_serves_both_families),
		TEST(refused_is_told),
		TEST(refused_is_told_on_dual_socket),
		TEST(refused_is_told_ipv6),
		TEST(mtu_is_the_kernels),
		TEST(port_taken_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
