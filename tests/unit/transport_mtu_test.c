/* SPDX-License-Identifier: Apache-2.0 */
/* A path of 1280 bytes, in a network of our own whose loopback has that MTU: what the transport
 * says of it, and that datagrams which are too large for it arrive all the same, in fragments.
 * And what takes a raw socket to send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <event2/event.h>

#include "private_net.h"
#include "transport/udp.h"

enum { SMALL_MTU = 1280, WAIT_MS = 3000 };

static struct event_base *base;
static struct transport *a, *b;
static size_t got, datagrams;
static uint8_t data[TRANSPORT_BATCH], received[TRANSPORT_BATCH];
static bool have_net;

static void on_receive(void *arg, const struct path *from, const uint8_t *p, size_t len,
		       size_t stride)
{
	(void)arg;
	(void)from;
	assert_true(got + len <= sizeof(received));
	memcpy(received + got, p, len);
	got += len;
	datagrams += (len + stride - 1) / stride;
}

static const struct transport_ops ops = {.receive = on_receive};

static void make(struct transport **t)
{
	union sockaddr_any any;
	struct error e = {0};

	assert_int_equal(sockaddr_parse(&any, "[::]:0"), 0);
	if (transport_udp_new(t, base, &any, 0, &ops, NULL, &e))
		fail_msg("%s", e.text);
}

static struct path path_to(const char *ip, const struct transport *t)
{
	union sockaddr_any sa;
	struct ipaddr addr;

	assert_int_equal(transport_local(t, &sa), 0);
	assert_int_equal(ipaddr_parse(&addr, ip), 0);
	return (struct path){.remote = sockaddr_from(&addr, sockaddr_port(&sa))};
}

static int setup(void **state)
{
	struct ifreq ifr = {.ifr_name = "lo", .ifr_mtu = SMALL_MTU};
	int fd;

	(void)state;
	if (private_net() < 0) {
		print_message("[     info ] skipped: no network namespace: %s\n", strerror(errno));
		return 0;
	}
	have_net = true;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(ioctl(fd, SIOCSIFMTU, &ifr), 0);
	close(fd);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
	base = event_base_new();
	make(&a);
	make(&b);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (!have_net)
		return 0;
	transport_free(a);
	transport_free(b);
	event_base_free(base);
	return 0;
}

/* Sends `len` bytes and checks that they come, as datagrams of `stride`. */
static void check_arrives(const struct path *to, size_t len, size_t stride)
{
	nsec_t end = clock_boot() + WAIT_MS * NSEC_PER_MSEC;

	got = datagrams = 0;
	transport_send(a, to, data, len, stride);
	while (got < len) {
		struct timeval tick = {.tv_usec = 10000};

		if (clock_boot() > end)
			fail_msg("%zu of %zu bytes", got, len);
		event_base_loopexit(base, &tick);
		event_base_loop(base, EVLOOP_ONCE);
	}
	assert_int_equal(got, len);
	assert_memory_equal(received, data, len);
	assert_int_equal(datagrams, (len + stride - 1) / stride);
}

static void check_path(const char *ip, size_t overhead)
{
	const struct transport_stats *st = transport_stats(a);
	struct path to = path_to(ip, b);
	uint64_t calls;

	assert_int_equal(transport_mtu(a, &to), SMALL_MTU - overhead);
	calls = st->tx_calls;
	check_arrives(&to, 40 * (SMALL_MTU - overhead) - 5, SMALL_MTU - overhead);
	assert_int_equal(st->tx_calls - calls, 1); /* fits, so at once */
	check_arrives(&to, 10 * 1452, 1452);
	assert_int_equal(st->tx_calls - calls, 11); /* not tried as a super-datagram */
	assert_true(udp_self(a)->gso);
	assert_int_equal(st->tx_too_big + st->tx_errors, 0);

	/* The transport's knowledge is out of date: the kernel refuses, and all arrives still. */
	for (unsigned i = 0; i < MTU_SLOTS; i++)
		udp_self(a)->mtu[i] = (struct mtu_slot){to.remote, 1500, UINT64_MAX};
	check_arrives(&to, 10 * 1452, 1452);
	assert_true(udp_self(a)->gso);
	assert_int_equal(transport_mtu(a, &to), SMALL_MTU - overhead); /* learned */

	/* Of the network before. */
	for (unsigned i = 0; i < MTU_SLOTS; i++)
		udp_self(a)->mtu[i] =
			(struct mtu_slot){to.remote, 1500, clock_boot() + 5 * NSEC_PER_SEC};
	assert_int_equal(transport_mtu(a, &to), 1500);
	transport_rebind(a);
	assert_int_equal(transport_mtu(a, &to), SMALL_MTU - overhead);
}

static void small_ipv4_path(void **state)
{
	(void)state;
	if (!have_net)
		skip();
	check_path("127.0.0.1", 28);
}

static void small_ipv6_path(void **state)
{
	(void)state;
	if (!have_net)
		skip();
	check_path("::1", 48);
}

/* Nobody has that port: an answer would be refused, as if our own address were wrong. */
static void from_port_0_is_not_taken(void **state)
{
	struct path to;
	uint8_t udp[8 + 4] = {0};

	(void)state;
	if (!have_net)
		skip();
	to = path_to("127.0.0.1", b);
	put_be16(udp + 2, sockaddr_port(&to.remote));
	put_be16(udp + 4, sizeof(udp));
	cleanup(close_fd) int raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_UDP);
	assert_true(raw >= 0);
	for (uint16_t port = 0; port < 2; port++) {
		uint64_t before = transport_stats(b)->rx_datagrams;

		put_be16(udp, port);
		assert_int_equal(
			sendto(raw, udp, sizeof(udp), 0, &to.remote.sa, sockaddr_len(&to.remote)),
			sizeof(udp));
		event_base_loop(base, EVLOOP_NONBLOCK);
		assert_int_equal(transport_stats(b)->rx_datagrams - before, port);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_ipv4_path),
		cmocka_unit_test(small_ipv6_path),
		cmocka_unit_test(from_port_0_is_not_taken),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
