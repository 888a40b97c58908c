/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The replay window of RFC 6479: a ring of 64-bit words that is cleared word by word as it moves,
 * never shifted. One word is always in the clearing, so of REPLAY_BITS counters the last
 * REPLAY_BITS - 64 are told apart; what is older is refused.
 */
#include "crypto/crypto.h"

enum {
	WORD_BITS = 64,
	WORDS = REPLAY_BITS / WORD_BITS,
	WINDOW = REPLAY_BITS - WORD_BITS,
};

void replay_init(struct replay *r)
{
	memset(r, 0, sizeof(*r));
}

bool replay_accept(struct replay *r, uint64_t counter)
{
	if (counter >= REPLAY_LIMIT)
		return false;
	counter++; /* from here on 1 is the first, as in `next` */
	if (counter + WINDOW < r->next)
		return false;

	uint64_t word = counter / WORD_BITS;
	if (counter > r->next) {
		uint64_t current = r->next / WORD_BITS;
		uint64_t steps = MIN(word - current, (uint64_t)WORDS);
		for (uint64_t i = 1; i <= steps; i++)
			r->bits[(current + i) % WORDS] = 0;
		r->next = counter;
	}
	uint64_t bit = UINT64_C(1) << counter % WORD_BITS;
	uint64_t *bits = &r->bits[word % WORDS];
	if (*bits & bit)
		return false;
	*bits |= bit;
	return true;
}
