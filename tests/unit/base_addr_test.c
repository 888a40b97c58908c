/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses, prefixes, checksums, IP parsing, the hash table and files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/addr.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/ip.h"
#include "base/log.h"

static void prefixes(void **state)
{
	(void)state;
	struct prefix a, b;
	struct ipaddr ip;
	char buf[ADDR_STRLEN];
	assert_int_equal(prefix_parse(&a, "10.96.0.0/12"), 0);
	assert_string_equal(prefix_format(&a, buf), "10.96.0.0/12");
	assert_int_equal(prefix_parse(&b, "10.96.0.1/12"), -EDOM);
	static const char *const bad[] = {
		"",	      "10.0.0.0/",   "10.0.0.0/33", "10.0.0.0/-1",  "x/8",
		"fd00::/129", "10.0.0.0/8 ", "10.0.0/8",    "10.0.0.0/0008"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(prefix_parse(&b, bad[i]), -EINVAL);
	assert_int_equal(ipaddr_parse(&ip, "10.111.255.255"), 0);
	assert_true(prefix_contains(&a, &ip));
	assert_int_equal(ipaddr_parse(&ip, "10.112.0.0"), 0);
	assert_false(prefix_contains(&a, &ip));
	assert_int_equal(prefix_parse(&b, "10.100.0.0/16"), 0);
	assert_true(prefix_overlaps(&a, &b) && prefix_overlaps(&b, &a));
	assert_int_equal(prefix_parse(&b, "fd00::/8"), 0);
	assert_false(prefix_overlaps(&a, &b));
	assert_int_equal(prefix_parse(&b, "0.0.0.0/0"), 0);
	assert_true(prefix_overlaps(&a, &b) && prefix_contains(&b, &ip));
}

static void endpoints(void **state)
{
	(void)state;
	union sockaddr_any sa;
	char buf[ADDR_STRLEN];
	static const char *const good[] = {"1.2.3.4:80", "[fd00::1]:65535", "0.0.0.0:0"};
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(sockaddr_parse(&sa, good[i]), 0);
		assert_string_equal(sockaddr_format(&sa, buf), good[i]);
	}
	static const char *const bad[] = {"",
					  ":",
					  "1.2.3.4",
					  "1.2.3.4:",
					  "1.2.3.4:65536",
					  "fd00::1:80",
					  "[1.2.3.4]:80",
					  "[fd00::1]80",
					  "a:1",
					  "1.2.3.4:8 "};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(sockaddr_parse(&sa, bad[i]), -EINVAL);
	assert_int_equal(sockaddr_parse(&sa, "[::ffff:1.2.3.4]:80"), 0);
	assert_string_equal(sockaddr_format(&sa, buf), "1.2.3.4:80");
}

/* The slow definition of RFC 1071, byte pair by byte pair. */
static uint32_t slow_sum(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;
	for (size_t i = 0; i < len; i += 2) {
		sum += (uint32_t)(p[i] << 8 | (i + 1 < len ? p[i + 1] : 0));
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

static void checksum_equals_its_definition(void **state)
{
	(void)state;
	uint8_t buf[259];
	unsigned seed = 1;
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
	for (size_t off = 0; off < 4; off++)
		for (size_t len = 0; len + off <= sizeof(buf); len++)
			assert_int_equal(ip_fold(ip_sum(buf + off, len, 0)),
					 ip_fold(slow_sum(buf + off, len)));
}

/* The example of an IPv4 header with a right checksum, from RFC 1071's usual textbook. */
static void header_checksum(void **state)
{
	(void)state;
	uint8_t h[20] = {0x45, 0, 0,	0x73, 0, 0, 0x40, 0,	0x40, 0x11,
			 0,    0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0,    0xc7};
	ip4_header_checksum(h);
	assert_int_equal(get_be16(h + 10), 0xb861);
}

static void truncated_headers_are_refused(void **state)
{
	(void)state;
	uint8_t v6[72] = {0x60, [5] = 32, [6] = 0 /* hop by hop */, [7] = 64};
	struct ip_info info;
	v6[40] = 44, v6[41] = 0; /* then a fragment header */
	v6[48] = 17, v6[50] = 0x10, v6[51] = 0x01;
	assert_int_equal(ip_parse(&info, v6, sizeof(v6)), 0);
	assert_true(info.fragment && info.frag_more);
	assert_int_equal(info.frag_off, 0x1000);
	assert_int_equal(info.frag_hdr, 48);
	assert_int_equal(info.l4, 56);
	for (size_t len = 0; len < sizeof(v6); len++) {
		uint8_t *exact = malloc(len ? len : 1);
		memcpy(exact, v6, len);
		assert_int_not_equal(ip_parse(&info, exact, len), 0);
		free(exact);
	}
	v6[5] = 12; /* the chain now ends inside the fragment header */
	assert_int_equal(ip_parse(&info, v6, sizeof(v6)), -EINVAL);
}

struct item {
	struct hash_node node;
	unsigned key;
};

static void hash_keeps_and_forgets(void **state)
{
	(void)state;
	enum { N = 5000 };
	struct hash_table t;
	struct item *items = calloc(N, sizeof(*items));
	assert_int_equal(hash_init(&t), 0);
	for (unsigned i = 0; i < N; i++) {
		items[i].key = i;
		hash_insert(&t, &items[i].node, hash_of(&t, &i, sizeof(i)));
	}
	for (unsigned i = 0; i < N; i += 2)
		hash_remove(&t, &items[i].node);
	for (unsigned i = 0; i < N; i++) {
		struct hash_node *n = hash_first(&t, hash_of(&t, &i, sizeof(i)));
		while (n && container_of(n, struct item, node)->key != i)
			n = hash_next(n);
		assert_int_equal(n != NULL, i % 2);
	}
	assert_int_equal(t.count, N / 2);
	hash_fini(&t);
	free(items);
}

/* First vectors of the SipHash paper's reference (key 00..0f, input 00, 01, ...). */
static void siphash_vectors(void **state)
{
	(void)state;
	uint8_t k[16], in[15];
	uint64_t key[2];
	for (unsigned i = 0; i < 16; i++)
		k[i] = (uint8_t)i;
	for (unsigned i = 0; i < 15; i++)
		in[i] = (uint8_t)i;
	memcpy(key, k, 16);
	assert_int_equal(siphash(key, in, 0), UINT64_C(0x726fdb47dd0e0e31));
	assert_int_equal(siphash(key, in, 15), UINT64_C(0xa129ca6149be45e5));
}

static void a_failed_write_keeps_the_old_file(void **state)
{
	(void)state;
	char dir[] = "/tmp/culvert-test-XXXXXX", path[64], deep[64];
	struct error e;
	char *data;
	size_t len;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/f", dir);
	assert_int_equal(file_write_atomic(path, "one", 3, 0600, &e), 0);
	assert_int_equal(file_read(path, 10, &data, &len, &e), 0);
	assert_string_equal(data, "one");
	free(data);
	assert_int_equal(file_read(path, 2, &data, &len, &e), -EFBIG);
	snprintf(deep, sizeof(deep), "%s/f/g", dir);
	assert_int_equal(file_write_atomic(deep, "two", 3, 0600, &e), -ENOTDIR);
	assert_non_null(strstr(e.text, deep));
	assert_int_equal(dir_make(deep, 0700, &e), -ENOTDIR);
	unlink(path);
	snprintf(deep, sizeof(deep), "%s/a/b", dir);
	assert_int_equal(dir_make(deep, 0700, &e), 0);
	assert_int_equal(dir_make(deep, 0700, &e), 0);
	assert_int_equal(dir_make("", 0700, &e), -ENOENT);
	rmdir(deep);
	snprintf(deep, sizeof(deep), "%s/a", dir);
	rmdir(deep);
	rmdir(dir);
}

static void sentences_gain_context(void **state)
{
	(void)state;
	struct error e;
	assert_int_equal(error_errno(&e, -ENOENT, "cannot open %s", "x"), -ENOENT);
	assert_int_equal(error_wrap(&e, -1, "while testing"), -1);
	assert_string_equal(e.text, "while testing: cannot open x: No such file or directory");
	assert_int_equal(error_set(NULL, 7, "nobody listens"), 7);
}

static void nobody_adds_a_log_line(void **state)
{
	char line[256] = "";
	int ends[2], err = dup(2);
	(void)state;
	assert_int_equal(pipe(ends), 0);
	dup2(ends[1], 2);
	log_info("peer %s: hello", "x\n2026-01-01 root\033[2J\177\r\xc3\xa9");
	dup2(err, 2);
	ssize_t n = read(ends[0], line, sizeof(line) - 1);
	assert_true(n > 0);
	assert_ptr_equal(strchr(line, '\n'), line + n - 1);
	assert_non_null(strstr(line, "peer x?2026-01-01 root?[2J??\xc3\xa9: hello\n"));
	close(err);
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prefixes),
		cmocka_unit_test(endpoints),
		cmocka_unit_test(checksum_equals_its_definition),
		cmocka_unit_test(header_checksum),
		cmocka_unit_test(truncated_headers_are_refused),
		cmocka_unit_test(hash_keeps_and_forgets),
		cmocka_unit_test(siphash_vectors),
		cmocka_unit_test(a_failed_write_keeps_the_old_file),
		cmocka_unit_test(sentences_gain_context),
		cmocka_unit_test(nobody_adds_a_log_line),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
