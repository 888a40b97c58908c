/* SPDX-License-Identifier: Apache-2.0 */
/* queue: copies of packets that wait for a session; bounded in number and bytes, the oldest makes
 * room. */
#pragma once

#include "base/util.h"

enum { QUEUE_BYTES_MAX = 1 << 20 };

struct queued {
	struct queued *next;
	size_t len;
	uint8_t *data;
	uint8_t room[]; /* data, with the head and tail that sealing wants */
};

struct queue {
	struct queued *first, **last;
	unsigned count;
	size_t bytes;
};

void queue_init(struct queue *q);
/* Returns how many packets were dropped for it: old ones, or this one when there is no memory. */
unsigned queue_push(struct queue *q, const uint8_t *packet, size_t len);
/* All of it, as a list that the caller frees with queue_free_list(); the queue is empty after. */
struct queued *queue_take(struct queue *q);
/* How many there were. Wipes nothing: it never left the node. */
unsigned queue_free_list(struct queued *list);
