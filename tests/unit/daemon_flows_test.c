/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's table of connections as packets: whose, which states, both families and sockets that serve both. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/ip.h"
#include "daemon/flows.h"

#define HEAD "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
#define REST " 00000000:00000000 00:00000000 00000000  1000        0 1 1 0000000000000000 20\n"

static struct {
	unsigned n;
	struct ip_info info[8];
	uint16_t from[8], to[8];
	uint32_t seq[8];
	uint8_t flags[8];
} got;

static void take(void *arg, struct pkt *pkt)
{
	struct ip_info *info = &got.info[got.n];
	const uint8_t *tcp;

	(void)arg;
	assert_true(got.n < ARRAY_SIZE(got.info));
	assert_int_equal(ip_parse(info, pkt->data, pkt->len), 0);
	assert_int_equal(info->proto, IP_PROTO_TCP);
	assert_int_equal(info->total, pkt->len);
	if (info->src.family == 4)
		assert_int_equal(ip_fold(ip_sum(pkt->data, 20, 0)), 0);
	tcp = pkt->data + info->l4;
	got.from[got.n] = get_be16(tcp);
	got.to[got.n] = get_be16(tcp + 2);
	got.seq[got.n] = get_be32(tcp + 4);
	got.flags[got.n] = tcp[13];
	got.n++;
}

static unsigned ask(const char *text, const char *v4, const char *v6)
{
	struct ipaddr a4 = {0}, a6 = {0};
	FILE *f = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
	unsigned n;

	assert_non_null(f);
	if (v4)
		assert_int_equal(ipaddr_parse(&a4, v4), 0);
	if (v6)
		assert_int_equal(ipaddr_parse(&a6, v6), 0);
	got.n = 0;
	n = flows_ask_table(f, &a4, &a6, take, NULL);
	fclose(f);
	return n;
}

static void ours_are_asked_twice(void **state)
{
	char text[ADDR_STRLEN];

	(void)state;
	/* 198.18.0.1:40000 to 10.96.0.10:5432, established; somebody else's; ours, but listening. */
	assert_int_equal(ask(HEAD "   0: 010012C6:9C40 0A00600A:1538 01" REST
				  "   1: 0100007F:9C40 0A00600A:1538 01" REST
				  "   2: 010012C6:0050 00000000:0000 0A" REST,
			     "198.18.0.1", NULL),
			 1);
	assert_int_equal(got.n, 2);
	assert_string_equal(ipaddr_format(&got.info[0].src, text), "10.96.0.10");
	assert_string_equal(ipaddr_format(&got.info[0].dst, text), "198.18.0.1");
	assert_int_equal(got.from[0], 5432);
	assert_int_equal(got.to[0], 40000);
	assert_int_equal(got.flags[0], TCP_ACK);
	assert_int_equal(got.seq[0] - got.seq[1], 1u << 31);
}

static void of_both_families(void **state)
{
	char text[ADDR_STRLEN];

	(void)state;
	assert_int_equal(ask(HEAD "   0: 0000000000000000FFFF0000010012C6:9C40 "
				  "0000000000000000FFFF00000A00600A:1538 08" REST
				  "   1: 000000FD000000000000000002000000:0050 "
				  "000000FD000000000000000003000000:1538 05" REST,
			     "198.18.0.1", "fd00::2"),
			 2);
	assert_int_equal(got.n, 4);
	assert_string_equal(ipaddr_format(&got.info[0].src, text), "10.96.0.10");
	assert_string_equal(ipaddr_format(&got.info[2].src, text), "fd00::3");
	assert_string_equal(ipaddr_format(&got.info[2].dst, text), "fd00::2");
}

static void lines_that_are_none(void **state)
{
	(void)state;
	assert_int_equal(ask(HEAD "\n 0:\n 1: 01:02 03:04 01\n 2: XX 0A00600A:1538 01\n"
				  " 3: 010012C6 0A00600A:1538 01\n",
			     "198.18.0.1", NULL),
			 0);
	/* No IPv6 of ours: nothing is ours there. */
	assert_int_equal(ask(HEAD "   1: 000000FD000000000000000002000000:0050 "
				  "000000FD000000000000000003000000:1538 05" REST,
			     "198.18.0.1", NULL),
			 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ours_are_asked_twice),
		cmocka_unit_test(of_both_families),
		cmocka_unit_test(lines_that_are_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
