/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any packets through the coalescer, and each also through the cutter. Input: records of
 *   u8 what (bit 0: which peer, bit 1: flush after it), u16 length (big endian), that many bytes.
 * What must hold: nothing is lost or made up (bytes of payload in = out), a super-packet can be cut
 * again.
 */
#include "node/cut.h"
#include "node/merge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint64_t bytes_in, bytes_out;

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void on_delivered(void *arg, void *owner, struct pkt *pkt)
{
	static uint8_t piece[PKT_MAX];
	struct segment s;
	struct cut c;
	uint64_t payload = 0;
	size_t n;

	(void)arg;
	(void)owner;
	require(pkt->len <= PKT_MAX);
	if (!segment_parse(&s, pkt->data, pkt->len)) {
		require(!pkt->gso);
		bytes_out += pkt->len;
		return;
	}
	bytes_out += s.payload;
	if (!pkt->gso)
		return;
	require(cut_begin(&c, pkt, PKT_MAX));
	while (cut_next(&c, piece, &n))
		payload += n - c.head.headers;
	require(payload == s.payload && s.payload > pkt->gso);
}

static void cut_it(uint8_t *data, size_t len, uint16_t gso, uint32_t fit)
{
	static uint8_t piece[INNER_MTU];
	struct pkt pkt = {.data = data, .len = (uint32_t)len, .gso = gso};
	struct cut c;
	size_t n;

	if (!cut_begin(&c, &pkt, fit))
		return;
	while (cut_next(&c, piece, &n))
		require(n <= fit);
	require(c.done == c.head.payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static int owners[2];
	struct merge *m;

	bytes_in = bytes_out = 0;
	if (merge_new(&m, on_delivered, NULL))
		return 0;
	while (len >= 3) {
		uint8_t what = data[0];
		size_t n = MIN((size_t)get_be16(data + 1), len - 3);
		uint8_t *copy = malloc(n ? n : 1); /* of the exact size, for ASan */
		struct segment s;

		if (!copy)
			break;
		memcpy(copy, data + 3, n);
		bytes_in += segment_parse(&s, copy, n) ? s.payload : n;
		cut_it(copy, n, (uint16_t)(what >> 2), 64 + what * 5U);
		merge_packet(m, &owners[what & 1], copy, n);
		free(copy);
		if (what & 2)
			merge_flush(m);
		data += 3 + n;
		len -= 3 + n;
	}
	merge_flush(m);
	require(bytes_in == bytes_out);
	merge_free(m);
	return 0;
}
