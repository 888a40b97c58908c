/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http: what clients and legs of the HTTP/2 splitter send. The first byte: odd = a preface and SETTINGS have come at both ends. Then records:
 * a byte that says where (bit 0: the leg) and what comes after (bit 1: the leg ends; bit 2: nothing is taken out; bit 3: time goes by; bit 4: the leg is silent, and
 * left), a byte of length, and so many bytes. All of it goes past the follower, too, whole and byte by byte.
 */
#include <stdlib.h>

#include "base/util.h"
#include "http/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct h2 *h2;
static struct h2_end *leg;
static unsigned open_streams, requests;

static void route(struct h2_stream *s, const struct http_head *head)
{
	if (!head->method.len)
		abort();
	if (!leg)
		leg = h2_leg_new(h2, true);
	if (requests++ % 8 == 7)
		h2_answer(s, 503, NULL, "no\x01 100%");
	else if (requests % 8 == 6)
		h2_stream_refuse(s);
	else if (h2_send(s, leg, requests % 2 ? "pod" : NULL))
		h2_answer(s, 502, NULL, "nobody");
}

static void on_request(void *arg, struct h2_stream *s, const struct http_head *head)
{
	(void)arg;
	open_streams++;
	h2_stream_set(s, &open_streams);
	route(s, head);
}

static void on_lost(void *arg, struct h2_stream *s, enum h2_lost why, bool whole)
{
	(void)arg;
	if (whole && why == H2_LOST_REFUSED && h2_leg_takes(leg))
		route(s, h2_stream_head(s));
	else
		h2_answer(s, 502, NULL, "lost");
}

static void on_gone(void *arg, struct h2_stream *s)
{
	(void)arg;
	if (h2_stream_user(s))
		open_streams--;
}

static const struct h2_ops ops = {.request = on_request, .lost = on_lost, .gone = on_gone};

static void take_out(void)
{
	uint8_t buf[H2_OUTPUT_MIN];

	for (int i = 0; i < 64 && h2_output(h2_client(h2), buf, sizeof(buf)); i++)
		;
	for (int i = 0; i < 64 && leg && h2_output(leg, buf, sizeof(buf)); i++)
		;
}

static void follow(const uint8_t *data, size_t size)
{
	struct h2_frames whole, bytes;

	h2_frames_init(&whole, false);
	h2_frames_init(&bytes, false);
	if (h2_frames_pass(&whole, data, size, false) != size)
		abort();
	for (size_t i = 0; i < size; i++) {
		size_t n = h2_frames_pass(&bytes, data + i, 1, true);

		if (n != !h2_frames_between(&bytes) && n != 1)
			abort();
		if (!n)
			h2_frames_pass(&bytes, data + i, 1, false);
	}
	if (whole.left != bytes.left || whole.have != bytes.have || whole.open != bytes.open ||
	    whole.goaway != bytes.goaway)
		abort();
}

static void greet(void)
{
	static const uint8_t settings[9] = {0, 0, 0, 4};

	h2_input(h2_client(h2), (const uint8_t *)"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24, 1);
	h2_input(h2_client(h2), settings, sizeof(settings), 1);
	leg = h2_leg_new(h2, true);
	h2_input(leg, settings, sizeof(settings), 1);
	take_out();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	nsec_t now = NSEC_PER_SEC;
	size_t at = 1;

	if (!size)
		return 0;
	follow(data, size);
	h2 = h2_new(&ops, NULL);
	leg = NULL;
	open_streams = requests = 0;
	if (data[0] & 1)
		greet();
	while (at + 2 <= size) {
		uint8_t how = data[at];
		size_t n = MIN(data[at + 1], size - at - 2);

		if (!(how & 1))
			h2_input(h2_client(h2), data + at + 2, n, now);
		else if (leg)
			h2_input(leg, data + at + 2, n, now);
		if (how & 2 && leg) {
			struct h2_end *old = steal_ptr(leg);

			leg = h2_leg_new(h2, false);
			h2_leg_free(old);
		}
		if (how & 16 && leg)
			h2_leg_leave(leg);
		if (!(how & 4))
			take_out();
		if (how & 8)
			now += 20 * NSEC_PER_SEC;
		at += 2 + n;
	}
	h2_free(h2);
	if (open_streams)
		abort();
	return 0;
}
