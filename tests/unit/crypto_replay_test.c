/* SPDX-License-Identifier: Apache-2.0 */
/* The replay window: known steps at its edges (the situations are those of WireGuard's
 * selftest/counter.c), and random counters against a model that remembers everything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "crypto/crypto.h"

enum {
	WINDOW = REPLAY_BITS - 64, /* how far behind the highest a counter may be */
	LIM = WINDOW + 1,
};

struct step {
	uint64_t counter;
	bool accepted;
};

static void run(const struct step *steps, size_t n)
{
	struct replay r;

	replay_init(&r);
	for (size_t i = 0; i < n; i++)
		if (replay_accept(&r, steps[i].counter) != steps[i].accepted)
			fail_msg("step %zu: counter %llu should be %s", i,
				 (unsigned long long)steps[i].counter,
				 steps[i].accepted ? "accepted" : "refused");
}

static void edges(void **state)
{
	(void)state;
	static const struct step steps[] = {
		{0, true},
		{1, true},
		{1, false},
		{9, true},
		{8, true},
		{7, true},
		{7, false},
		{LIM, true},
		{LIM - 1, true},
		{LIM - 1, false},
		{LIM - 2, true},
		{2, true}, /* still inside, though a window's length was jumped */
		{2, false},
		{LIM + 16, true},
		{3, false}, /* new, but now too old */
		{LIM + 16, false},
		{LIM * 4, true},
		{LIM * 4 - WINDOW, true}, /* the oldest that is told apart */
		{10, false},
		{LIM * 4 - LIM, false},
		{LIM * 4 - LIM - 1, false},
		{LIM * 4 - WINDOW + 1, true},
		{0, false},
		{REPLAY_LIMIT, false},
		{REPLAY_LIMIT - 1, true},
		{REPLAY_LIMIT, false},
		{REPLAY_LIMIT - 1, false},
		{REPLAY_LIMIT - 2, true},
		{REPLAY_LIMIT + 1, false},
		{REPLAY_LIMIT + 2, false},
		{UINT64_MAX, false},
		{REPLAY_LIMIT - 2, false},
		{REPLAY_LIMIT - 3, true},
		{0, false},
	};
	run(steps, ARRAY_SIZE(steps));
}

/* A whole window upwards or downwards, then what lies just outside and just inside. */
static void sweep(uint64_t first, uint64_t last, const struct step *after, size_t n)
{
	struct replay r;

	replay_init(&r);
	for (uint64_t c = first;; c += first < last ? 1 : UINT64_MAX) {
		assert_true(replay_accept(&r, c));
		if (c == last)
			break;
	}
	for (size_t i = 0; i < n; i++)
		assert_int_equal(replay_accept(&r, after[i].counter), after[i].accepted);
}

static void sweeps(void **state)
{
	(void)state;
	sweep(1, WINDOW, (struct step[]){{0, true}, {0, false}}, 2);
	sweep(2, WINDOW + 1, (struct step[]){{1, true}, {0, false}}, 2);
	sweep(WINDOW + 1, 1, (struct step[]){{0, false}, {1, false}}, 2);
	sweep(WINDOW + 2, 2, (struct step[]){{0, false}}, 1);
	sweep(WINDOW, 1, (struct step[]){{WINDOW + 1, true}, {0, false}}, 2);
	sweep(WINDOW, 1, (struct step[]){{0, true}, {WINDOW + 1, true}}, 2);
}

/* A jump of more than the ring must clear all of it; of exactly one ring, too. */
static void far_jumps(void **state)
{
	(void)state;
	for (uint64_t jump = REPLAY_BITS - 70; jump <= REPLAY_BITS * 3; jump += 31) {
		struct replay r;
		replay_init(&r);
		for (uint64_t c = 0; c < REPLAY_BITS; c++)
			assert_true(replay_accept(&r, c));
		uint64_t top = REPLAY_BITS - 1 + jump;
		assert_true(replay_accept(&r, top));
		for (uint64_t c = top - WINDOW; c < top; c++)
			assert_int_equal(replay_accept(&r, c), c >= REPLAY_BITS);
		assert_false(replay_accept(&r, top - WINDOW - 1));
	}
}

/* xorshift64: the same run every time. */
static uint64_t random_next(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

enum { MODEL_MAX = 1 << 20 };

static void against_model(void **state)
{
	(void)state;
	static bool seen[MODEL_MAX];
	for (uint64_t seed = 1; seed <= 20; seed++) {
		uint64_t s = seed * UINT64_C(0x9e3779b97f4a7c15), highest = 0;
		bool any = false;
		struct replay r;
		unsigned accepted = 0, refused = 0;

		memset(seen, 0, sizeof(seen));
		replay_init(&r);
		for (unsigned i = 0; i < 100000; i++) {
			uint64_t x = random_next(&s), y = random_next(&s), c;
			if (x % 2000 == 0) /* a burst was lost */
				c = highest + y % (2 * REPLAY_BITS);
			else if (x % 4 == 0) /* late, or a repetition, or too old */
				c = highest - MIN(highest, y % (REPLAY_BITS + 200));
			else
				c = highest + x % 3;
			if (c >= MODEL_MAX)
				break;
			bool want = !seen[c] && (!any || c + WINDOW >= highest);
			if (replay_accept(&r, c) != want)
				fail_msg("seed %llu step %u counter %llu highest %llu",
					 (unsigned long long)seed, i, (unsigned long long)c,
					 (unsigned long long)highest);
			if (want) {
				seen[c] = any = true;
				highest = MAX(highest, c);
			}
			accepted += want;
			refused += !want;
		}
		assert_true(accepted > 10000 && refused > 10000);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(edges),
		cmocka_unit_test(sweeps),
		cmocka_unit_test(far_jumps),
		cmocka_unit_test(against_model),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
