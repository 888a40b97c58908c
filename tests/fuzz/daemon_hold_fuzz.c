/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any packets to what answers for a manager that is away. Input: records of u8 seconds since the last, u16 gso, u16 length (big endian), that many
 * bytes. What must hold: an answer is one IP packet that fits, what is kept is an IP packet of at most INNER_MTU, and as many as were counted.
 */
#include "base/ip.h"
#include "daemon/hold.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static unsigned kept;

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void on_kept(void *arg, struct pkt *pkt)
{
	struct ip_info ip;

	(void)arg;
	require(pkt->len <= INNER_MTU && !pkt->gso && !ip_parse(&ip, pkt->data, pkt->len));
	require(ip.total == pkt->len);
	kept++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t buf[HOLD_ANSWER];
	struct hold *h;
	nsec_t now = 0;
	unsigned n;

	if (hold_new(&h, now))
		return 0;
	while (len >= 5) {
		size_t size = MIN((size_t)get_be16(data + 3), len - 5);
		uint8_t *copy = malloc(MAX(size, (size_t)1)); /* so that a read beyond it shows */
		struct pkt pkt = {.data = copy, .len = (uint32_t)size, .gso = get_be16(data + 1)};
		struct pkt answer;
		struct ip_info ip;

		now += data[0] * NSEC_PER_SEC;
		require(copy != NULL);
		memcpy(copy, data + 5, size);
		if (hold_take(h, &pkt, now, buf, &answer) && answer.len) {
			require(answer.len <= sizeof(buf) && !ip_parse(&ip, buf, answer.len));
			require(ip.total == answer.len);
		}
		free(copy);
		data += 5 + size;
		len -= 5 + size;
	}
	n = hold_count(h);
	kept = 0;
	hold_release(h, on_kept, NULL);
	require(kept == n && !hold_count(h));
	hold_free(h);
	return 0;
}
