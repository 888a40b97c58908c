/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packet half of the TUN, between two real kernels' TCP stacks:
 *
 *   netns 1: socket - TCP - TUN "cvt1" ==+
 *       the test's loop: tun_read, spoil the checksum, tun_write
 *   netns 2: socket - TCP - TUN "cvt2" ==+
 *
 * One thread holds both ends: a socket and a TUN stay in the namespace they were made in.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/ip.h"
#include "node_packets.h"
#include "private_net.h"
#include "tun/tun.h"

enum {
	TRANSFER = 96 << 20,
	PATTERN = 1000003, /* a prime: no repeated or lost block of any size looks right */
	WAIT_S = 30,
	PORT = 7000,
};

struct host {
	char name[TUN_NAME_LEN];
	struct tun *tun;
	int ns;
};

static struct host h1 = {.name = "cvt1"}, h2 = {.name = "cvt2"};
static int first_ns = -1;
static uint8_t pattern[PATTERN], buf[256 << 10];

static bool can_run(void)
{
	const char *why = NULL;

	if (access("/dev/net/tun", R_OK | W_OK) != 0)
		why = "/dev/net/tun";
	else if (private_net() < 0)
		why = "a network namespace";
	if (why)
		print_message("[     info ] skipped: %s: %s\n", why, strerror(errno));
	return !why;
}

static void enter(int ns)
{
	assert_int_equal(setns(ns, CLONE_NEWNET), 0);
}

/* A namespace of its own with a TUN that has `own` and leads to `peer`. Stays in it. */
static void make_host(struct host *h, const char *own4, const char *own6, const char *peer4,
		      const char *peer6)
{
	const char *own[] = {own4, own6}, *peer[] = {peer4, peer6};
	struct error e = {0};
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		fail_msg("unshare: %s", strerror(errno));
	h->ns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	fd = tun_create(h->name, &e);
	if (fd < 0 || tun_open(&h->tun, fd, &e))
		fail_msg("%s", e.text);
	for (int i = 0; i < 2; i++) {
		struct ipaddr a, b;
		struct prefix p;

		assert_int_equal(ipaddr_parse(&a, own[i]), 0);
		assert_int_equal(ipaddr_parse(&b, peer[i]), 0);
		p = prefix_host(&b);
		if (tun_add_addr(h->name, &a, &e) || tun_add_route(h->name, &p, &a, &e))
			fail_msg("%s", e.text);
	}
}

static int setup(void **state)
{
	uint32_t x = 1;

	(void)state;
	if (!can_run())
		return 0;
	first_ns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	for (size_t i = 0; i < PATTERN; i++) {
		x = x * 1664525 + 1013904223;
		pattern[i] = (uint8_t)(x >> 24);
	}
	make_host(&h1, "10.99.0.1", "fd99::1", "10.99.0.2", "fd99::2");
	make_host(&h2, "10.99.0.2", "fd99::2", "10.99.0.1", "fd99::1");
	return 0;
}

/* The namespaces end with their last descriptor. */
static int teardown(void **state)
{
	(void)state;
	if (first_ns < 0)
		return 0;
	enter(first_ns);
	tun_close(h1.tun);
	tun_close(h2.tun);
	close(h1.ns);
	close(h2.ns);
	close(first_ns);
	return 0;
}

#define need_hosts()                                                                               \
	do {                                                                                       \
		if (first_ns < 0)                                                                  \
			skip();                                                                    \
	} while (0)

/* What others may do to a packet on its way: the transport checksum is nobody's,
 * so it gets lost. */
static void spoil_checksum(struct pkt *pkt)
{
	struct ip_info ip;

	if (ip_parse(&ip, pkt->data, pkt->len) || ip.fragment)
		return;
	if (ip.proto == IP_PROTO_TCP)
		put_be16(pkt->data + ip.l4 + 16, 0xdead);
	else if (ip.proto == IP_PROTO_UDP)
		put_be16(pkt->data + ip.l4 + 6, 0xdead);
}

/* The contract of base/pkt.h for what a TUN hands out. */
static void check_packet(const struct pkt *pkt)
{
	struct ip_info ip;

	assert_int_equal(ip_parse(&ip, pkt->data, pkt->len), 0);
	assert_int_equal(ip.total, pkt->len);
	if (!pkt->gso)
		assert_in_range(pkt->len, 20, INNER_MTU);
	else
		assert_int_equal(ip.proto, IP_PROTO_TCP);
	if (ip.src.family == 4)
		assert_int_equal(ip_fold(ip_sum(pkt->data, ip.l4, 0)), 0);
}

static unsigned pump(struct tun *from, struct tun *to)
{
	struct pkt pkt;
	unsigned n = 0;
	int r;

	while (n < 64 && (r = tun_read(from, &pkt)) != 0) {
		assert_int_equal(r, 1);
		check_packet(&pkt);
		spoil_checksum(&pkt);
		tun_write(to, &pkt);
		n++;
	}
	return n;
}

/* Moves packets, and waits at most 10 ms for the next. */
static void pump_both(int s1, short e1, int s2, short e2)
{
	struct pollfd fds[] = {
		{tun_fd(h1.tun), POLLIN, 0}, {tun_fd(h2.tun), POLLIN, 0}, {s1, e1, 0}, {s2, e2, 0}};

	poll(fds, 4, 10);
	pump(h1.tun, h2.tun);
	pump(h2.tun, h1.tun);
}

static union sockaddr_any address(const char *ip, uint16_t port)
{
	struct ipaddr a;

	assert_int_equal(ipaddr_parse(&a, ip), 0);
	return sockaddr_from(&a, port);
}

static int make_socket(const struct host *h, const char *ip, int type, int protocol, uint16_t port)
{
	union sockaddr_any sa = address(ip, port);
	int fd;

	enter(h->ns);
	fd = socket(sa.sa.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, &sa.sa, sockaddr_len(&sa)), 0);
	return fd;
}

static void check_deadline(nsec_t end)
{
	if (clock_boot() > end)
		fail_msg("no end after %d s", WAIT_S);
}

/* Bytes of `to` arrive at `from`'s other end in order and unharmed. */
static void transfer(int from, int to)
{
	nsec_t end = clock_boot() + WAIT_S * NSEC_PER_SEC;
	size_t sent = 0, got = 0;

	while (got < TRANSFER) {
		size_t n = MIN(TRANSFER - sent, PATTERN - sent % PATTERN);
		ssize_t r = send(from, pattern + sent % PATTERN, n, MSG_NOSIGNAL);

		check_deadline(end);
		if (r > 0)
			sent += (size_t)r;
		pump_both(from, n ? POLLOUT : 0, to, POLLIN);
		r = recv(to, buf, MIN(sizeof(buf), PATTERN - got % PATTERN), 0);
		if (r == 0)
			fail_msg("closed after %zu bytes", got);
		if (r < 0)
			continue;
		assert_memory_equal(buf, pattern + got % PATTERN, (size_t)r);
		got += (size_t)r;
	}
}

static void check_tcp(const char *ip1, const char *ip2)
{
	union sockaddr_any sa = address(ip1, PORT);
	int listener = make_socket(&h1, ip1, SOCK_STREAM, 0, PORT), client, server = -1;
	nsec_t start, end = clock_boot() + WAIT_S * NSEC_PER_SEC;
	const struct tun_stats *s1 = tun_stats(h1.tun), *s2 = tun_stats(h2.tun);
	uint64_t supers = s2->rx_super, back = s1->rx_super;

	assert_int_equal(listen(listener, 1), 0);
	client = make_socket(&h2, ip2, SOCK_STREAM, 0, 0);
	assert_int_equal(connect(client, &sa.sa, sockaddr_len(&sa)), -1);
	assert_int_equal(errno, EINPROGRESS);
	while ((server = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) < 0) {
		check_deadline(end);
		pump_both(listener, POLLIN, -1, 0);
	}
	start = clock_boot();
	transfer(client, server);
	print_message("[     info ] %s: %.1f Gbit/s, %lu super-packets for %d MiB\n", ip1,
		      TRANSFER * 8.0 / (double)(clock_boot() - start),
		      (unsigned long)(s2->rx_super - supers), TRANSFER >> 20);
	transfer(server, client);

	/* Both ways in super-packets: at least 16 KiB each on average. */
	assert_in_range(s2->rx_super - supers, 1, TRANSFER / 16384);
	assert_in_range(s1->rx_super - back, 1, TRANSFER / 16384);
	assert_int_equal(s1->tx_super, s2->rx_super);
	assert_int_equal(s2->tx_super, s1->rx_super);
	assert_int_equal(s1->rx_bad + s1->tx_bad + s1->tx_full, 0);
	assert_int_equal(s2->rx_bad + s2->tx_bad + s2->tx_full, 0);
	close(listener);
	close(client);
	close(server);
	for (int i = 0; i < 5; i++)
		pump_both(-1, 0, -1, 0);
}

static void tcp_over_ipv4(void **state)
{
	(void)state;
	need_hosts();
	check_tcp("10.99.0.1", "10.99.0.2");
}

static void tcp_over_ipv6(void **state)
{
	(void)state;
	need_hosts();
	check_tcp("fd99::1", "fd99::2");
}

/* Sends `len` bytes from host 2 to host 1 and waits until they are there. */
static void check_udp(const char *ip1, const char *ip2, size_t len)
{
	union sockaddr_any sa = address(ip1, PORT);
	int to = make_socket(&h1, ip1, SOCK_DGRAM, 0, PORT);
	int from = make_socket(&h2, ip2, SOCK_DGRAM, 0, 0);
	nsec_t end = clock_boot() + 3 * NSEC_PER_SEC;
	uint8_t got[10000];
	ssize_t n;

	assert_int_equal(sendto(from, pattern, len, 0, &sa.sa, sockaddr_len(&sa)), len);
	while ((n = recv(to, got, sizeof(got), 0)) < 0) {
		check_deadline(end);
		pump_both(to, POLLIN, -1, 0);
	}
	assert_int_equal(n, len);
	assert_memory_equal(got, pattern, len);
	close(to);
	close(from);
}

static void udp_whole_and_in_fragments(void **state)
{
	static const size_t sizes[] = {1, 33, 1372, 4000, 9000};

	(void)state;
	need_hosts();
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		check_udp("10.99.0.1", "10.99.0.2", sizes[i]);
		check_udp("fd99::1", "fd99::2", sizes[i]);
	}
}

/* ICMP's checksum is kept by everyone: host 1's kernel verifies the request, ours the answer. */
static void icmp_echo_is_answered(void **state)
{
	union sockaddr_any sa;
	uint8_t echo[64] = {ICMP_ECHO}, got[200];
	nsec_t end = clock_boot() + 3 * NSEC_PER_SEC;
	ssize_t n;
	int fd;

	(void)state;
	need_hosts();
	sa = address("10.99.0.1", 0);
	fd = make_socket(&h2, "10.99.0.2", SOCK_RAW, IPPROTO_ICMP, 0);
	put_be16(echo + 4, 77);
	put_be16(echo + 2, ip_fold(ip_sum(echo, sizeof(echo), 0)));
	assert_int_equal(sendto(fd, echo, sizeof(echo), 0, &sa.sa, sockaddr_len(&sa)), 64);
	while ((n = recv(fd, got, sizeof(got), 0)) < 0) {
		check_deadline(end);
		pump_both(fd, POLLIN, -1, 0);
	}
	assert_int_equal(n, 20 + 64);
	assert_int_equal(got[20], ICMP_ECHOREPLY);
	assert_int_equal(ip_fold(ip_sum(got + 20, 64, 0)), 0);
	close(fd);
}

/* A TUN without any offload in host 1's namespace, which routes to it: what comes out there is what
 * the kernel made of a packet by itself. */
static int make_plain_tun(const char *dst4, const char *dst6)
{
	struct ifreq ifr = {.ifr_name = "cvt4", .ifr_flags = IFF_TUN | IFF_NO_PI};
	const char *dst[] = {dst4, dst6};
	struct error e = {0};
	int fd, sock;

	enter(h1.ns);
	private_write("/proc/sys/net/ipv4/ip_forward", "1");
	private_write("/proc/sys/net/ipv6/conf/all/forwarding", "1");
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ifr.ifr_flags = IFF_UP;
	assert_int_equal(ioctl(sock, SIOCSIFFLAGS, &ifr), 0);
	close(sock);
	for (int i = 0; i < 2; i++) {
		struct ipaddr none = {0};
		struct prefix p;

		assert_int_equal(prefix_parse(&p, dst[i]), 0);
		if (tun_add_route("cvt4", &p, &none, &e))
			fail_msg("%s", e.text);
	}
	return fd;
}

static void check_forwarded(int fd, const char *src, const char *dst)
{
	enum { GSO = 1000, PAYLOAD = 5 * GSO + 1 };
	static uint8_t data[PKT_MAX], got[2000], right[2000];
	struct rng r = {1};
	struct tcp_shape s = {.flow = {.sport = 5, .dport = 6},
			      .seq = 7,
			      .flags = TCP_ACK | TCP_PSH,
			      .tcp_options = 12,
			      .payload = PAYLOAD};
	struct pkt pkt = {.data = data, .gso = GSO};
	nsec_t end = clock_boot() + 3 * NSEC_PER_SEC;
	size_t done = 0, headers;

	assert_int_equal(ipaddr_parse(&s.flow.src, src), 0);
	assert_int_equal(ipaddr_parse(&s.flow.dst, dst), 0);
	pkt.len = (uint32_t)build_tcp(data, &r, &s);
	headers = pkt.len - PAYLOAD;
	spoil_checksum(&pkt);
	tun_write(h1.tun, &pkt);
	while (done < PAYLOAD) {
		ssize_t n = read(fd, got, sizeof(got));
		struct ip_info ip;

		check_deadline(end);
		if (n < 0 || ip_parse(&ip, got, (size_t)n) || ip.proto != IP_PROTO_TCP)
			continue; /* none yet, or the kernel's own */
		assert_int_equal((size_t)n - headers, MIN(GSO, PAYLOAD - done));
		assert_int_equal(get_be32(got + ip.l4 + 4), 7 + done);
		assert_memory_equal(got + headers, data + headers + done, (size_t)n - headers);
		memcpy(right, got, (size_t)n);
		assert_int_equal(ip_complete_checksum(right, (size_t)n), 0);
		assert_memory_equal(right, got, (size_t)n);
		done += (size_t)n - headers;
	}
}

/* Size and checksum are right also for a kernel that must use them,
 * since it sends the packet on. */
static void forwarding_kernel_can_cut_and_complete(void **state)
{
	int fd;

	(void)state;
	need_hosts();
	fd = make_plain_tun("10.99.9.0/24", "fd99:9::/64");
	check_forwarded(fd, "10.99.0.2", "10.99.9.9");
	check_forwarded(fd, "fd99::2", "fd99:9::9");
	close(fd);
}

static void malformed_packets_are_not_written(void **state)
{
	uint8_t data[1500] = {0x45, [8] = 64, [9] = IP_PROTO_TCP, [32] = 0x50};
	struct pkt pkt = {.data = data, .len = 60};
	uint64_t bad;

	(void)state;
	need_hosts();
	bad = tun_stats(h1.tun)->tx_bad;
	put_be16(data + 2, 61); /* longer than it is */
	tun_write(h1.tun, &pkt);
	put_be16(data + 2, 39); /* no whole TCP header */
	pkt.len = 39;
	tun_write(h1.tun, &pkt);
	put_be16(data + 2, 60);
	pkt.len = 60;
	pkt.gso = 100;
	data[9] = IP_PROTO_UDP; /* a super-packet that is not TCP */
	tun_write(h1.tun, &pkt);
	data[9] = IP_PROTO_TCP;
	data[32] = 0xf0; /* TCP header beyond the end */
	tun_write(h1.tun, &pkt);
	data[0] = 0x15;
	tun_write(h1.tun, &pkt);
	pkt.len = 0;
	tun_write(h1.tun, &pkt);
	assert_int_equal(tun_stats(h1.tun)->tx_bad - bad, 6);
}

static void only_a_tun_with_vnet_header_opens(void **state)
{
	struct ifreq ifr = {.ifr_name = "cvt3", .ifr_flags = IFF_TUN | IFF_NO_PI};
	struct tun *t = NULL;
	struct error e = {0};
	int fd;

	(void)state;
	need_hosts();
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(tun_open(&t, fd, &e), -ENOTTY);
	close(fd);
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	assert_int_equal(tun_open(&t, fd, &e), -EINVAL);
	assert_non_null(strstr(e.text, "cvt3"));
	assert_null(t);
	close(fd);
}

/* The last: after it host 2 has no device. */
static void device_that_is_gone_is_told(void **state)
{
	struct error e = {0};
	struct pkt pkt;
	int r;

	(void)state;
	need_hosts();
	enter(h2.ns);
	if (tun_remove(h2.name, &e))
		fail_msg("%s", e.text);
	while ((r = tun_read(h2.tun, &pkt)) > 0)
		;
	assert_int_equal(r, -EBADFD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcp_over_ipv4),
		cmocka_unit_test(tcp_over_ipv6),
		cmocka_unit_test(udp_whole_and_in_fragments),
		cmocka_unit_test(icmp_echo_is_answered),
		cmocka_unit_test(forwarding_kernel_can_cut_and_complete),
		cmocka_unit_test(malformed_packets_are_not_written),
		cmocka_unit_test(only_a_tun_with_vnet_header_opens),
		cmocka_unit_test(device_that_is_gone_is_told),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
