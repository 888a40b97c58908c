/* SPDX-License-Identifier: Apache-2.0 */
/* queue: packets that wait for a session, first in, first out. */
#include "overlay/queue.h"

#include "crypto/crypto.h"
#include "overlay/overlay.h"

void queue_init(struct queue *q)
{
	*q = (struct queue){.first = NULL};
	q->last = &q->first;
}

static void drop_first(struct queue *q)
{
	struct queued *old = q->first;
	q->first = old->next;
	if (!q->first)
		q->last = &q->first;
	q->count--;
	q->bytes -= old->len;
	free(old);
}

unsigned queue_push(struct queue *q, const uint8_t *packet, size_t len)
{
	struct queued *n = malloc(sizeof(*n) + AEAD_HEAD + len + AEAD_TAIL);
	if (!n)
		return 1;
	n->next = NULL;
	n->len = len;
	n->data = n->room + AEAD_HEAD;
	memcpy(n->data, packet, len);
	/* Sealing reads head and tail, if only to write them back: no uninitialised memory. */
	memset(n->room, 0, AEAD_HEAD);
	memset(n->data + len, 0, AEAD_TAIL);

	unsigned dropped = 0;
	for (; q->first && (q->count >= PEER_QUEUE_MAX || q->bytes + len > QUEUE_BYTES_MAX);
	     dropped++)
		drop_first(q);
	*q->last = n;
	q->last = &n->next;
	q->count++;
	q->bytes += len;
	return dropped;
}

struct queued *queue_take(struct queue *q)
{
	struct queued *list = q->first;
	queue_init(q);
	return list;
}

unsigned queue_free_list(struct queued *list)
{
	unsigned count = 0;
	while (list) {
		struct queued *n = list;
		list = n->next;
		free(n);
		count++;
	}
	return count;
}
