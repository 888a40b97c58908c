/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/2 that passes through: where frames begin (RFC 9113, 4.1), and where one of ours may be put in. */
#include "base/util.h"
#include "http/http.h"

enum { PREFACE_LEN = 24, SETTING_LEN = 6 };
enum {
	TYPE_HEADERS = 1,
	TYPE_SETTINGS = 4,
	TYPE_PUSH_PROMISE = 5,
	TYPE_GOAWAY = 7,
	TYPE_CONTINUATION = 9
};
enum { END_HEADERS = 4 };

const uint8_t h2_goaway_frame[H2_GOAWAY_LEN] = {0,    0,    8,	  TYPE_GOAWAY, 0, 0, 0, 0, 0,
						0x7f, 0xff, 0xff, 0xff,	       0, 0, 0, 0};

bool h2_greeting(const uint8_t head[static H2_HEAD_LEN])
{
	uint32_t len = get_be32(head) >> 8;

	return len <= UINT16_MAX && len % SETTING_LEN == 0 && head[3] == TYPE_SETTINGS &&
	       !head[4] && !get_be32(head + 5);
}

void h2_frames_init(struct h2_frames *f, bool from_client)
{
	*f = (struct h2_frames){.left = from_client ? PREFACE_LEN : 0};
}

bool h2_frames_between(const struct h2_frames *f)
{
	return f->started && !f->left && !f->have && !f->open;
}

/* A frame's head is whole. */
static void on_head(struct h2_frames *f)
{
	uint8_t type = f->head[3], flags = f->head[4];

	f->left = get_be32(f->head) >> 8;
	f->have = 0;
	f->started = true;
	if (type == TYPE_HEADERS || type == TYPE_PUSH_PROMISE || type == TYPE_CONTINUATION)
		f->open = !(flags & END_HEADERS);
	else if (type == TYPE_GOAWAY)
		f->goaway = true;
}

size_t h2_frames_pass(struct h2_frames *f, const uint8_t *data, size_t len, bool stop)
{
	size_t at = 0;

	while (at < len && !(stop && h2_frames_between(f))) {
		size_t n;

		if (f->left) {
			n = MIN(f->left, len - at);
			f->left -= (uint32_t)n;
			at += n;
			continue;
		}
		n = MIN((size_t)(H2_HEAD_LEN - f->have), len - at);
		memcpy(f->head + f->have, data + at, n);
		f->have = (uint8_t)(f->have + n);
		at += n;
		if (f->have == H2_HEAD_LEN)
			on_head(f);
	}
	return at;
}
