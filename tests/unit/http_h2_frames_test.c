/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/2 that is only followed: where a GOAWAY of ours may stand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/util.h"
#include "http/http.h"

enum { CONTINUES = 0, END = 4 };

static uint8_t wire[4096];
static size_t len;
static bool may[4096]; /* may ours stand before this byte? */

static void frame(uint8_t type, uint8_t flags, size_t n, bool after)
{
	put_be32(wire + len, (uint32_t)n << 8 | type);
	wire[len + 4] = flags;
	memset(wire + len + 5, 0, 4 + n);
	len += 9 + n;
	may[len] = after;
}

/* A server's first frames: all kinds, header blocks in pieces, empty ones. */
static void script(void)
{
	len = 0;
	memset(may, 0, sizeof(may));
	frame(4, 0, 18, true);
	frame(4, 1, 0, true);
	frame(1, END, 40, true);
	frame(0, 0, 1000, true);
	frame(1, CONTINUES, 20, false);
	frame(9, CONTINUES, 0, false);
	frame(9, END, 7, true);
	frame(5, CONTINUES, 12, false);
	frame(9, END, 1, true);
	frame(0, 1, 0, true);
	frame(6, 0, 8, true);
	frame(0xbe, 0xff, 300, true); /* not known to anybody */
}

static void test_boundaries_whatever_the_pieces(void **unused)
{
	(void)unused;
	script();
	for (size_t piece = 1; piece < len; piece++) {
		struct h2_frames f;

		h2_frames_init(&f, false);
		assert_false(h2_frames_between(&f));
		for (size_t at = 0; at < len;) {
			size_t n = MIN(piece, len - at);

			assert_int_equal(h2_frames_pass(&f, wire + at, n, false), n);
			at += n;
			assert_int_equal(h2_frames_between(&f), may[at]);
		}
		assert_false(f.goaway);
	}
}

static void test_stops_at_the_first_place(void **unused)
{
	(void)unused;
	script();
	for (size_t from = 0; from < len; from++) {
		struct h2_frames f;
		size_t want = from;

		h2_frames_init(&f, false);
		h2_frames_pass(&f, wire, from, false);
		while (!may[want])
			want++;
		assert_int_equal(h2_frames_pass(&f, wire + from, len - from, true), want - from);
		assert_true(h2_frames_between(&f));
	}
}

static void test_clients_preface(void **unused)
{
	struct h2_frames f;

	(void)unused;
	h2_frames_init(&f, true);
	h2_frames_pass(&f, (const uint8_t *)"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24, false);
	assert_false(h2_frames_between(&f));
	script();
	h2_frames_pass(&f, wire, 9 + 18, false);
	assert_true(h2_frames_between(&f));
}

static void test_our_frame(void **unused)
{
	struct h2_frames f;

	(void)unused;
	script();
	h2_frames_init(&f, false);
	h2_frames_pass(&f, wire, len, false);
	assert_int_equal(h2_frames_pass(&f, h2_goaway_frame, H2_GOAWAY_LEN, false), H2_GOAWAY_LEN);
	assert_true(h2_frames_between(&f));
	assert_true(f.goaway);
	assert_int_equal(get_be32(h2_goaway_frame + 9), INT32_MAX);
}

static void test_greeting(void **unused)
{
	static const uint8_t ssh[9] = "SSH-2.0-O";

	(void)unused;
	script();
	assert_true(h2_greeting(wire));
	assert_false(h2_greeting(wire + 27)); /* an acknowledgement */
	assert_false(h2_greeting(ssh));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_boundaries_whatever_the_pieces),
		cmocka_unit_test(test_stops_at_the_first_place),
		cmocka_unit_test(test_clients_preface),
		cmocka_unit_test(test_our_frame),
		cmocka_unit_test(test_greeting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
