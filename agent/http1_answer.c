/* SPDX-License-Identifier: Apache-2.0 */
/* What comes back on an HTTP/1 connection, and answers of our own. */
#include <errno.h>
#include <stdio.h>

#include "agent/http1.h"
#include "base/log.h"

static const char *reason(int status)
{
	switch (status) {
	case 400:
		return "Bad Request";
	case 502:
		return "Bad Gateway";
	default:
		return "Service Unavailable";
	}
}

void http1_reply(struct http1 *h, int status, const char *away, const char *text)
{
	char reply[2 * RULE_NAME_LEN + 512];
	int n = snprintf(reply, sizeof(reply),
			 "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
			 "Cache-Control: no-store\r\nConnection: close\r\n%s%s%s\r\n%s%s",
			 status, reason(status), strlen(text) + 1, away ? "x-culvert-away: " : "",
			 away ? away : "", away ? "\r\n" : "", h->is_head ? "" : text,
			 h->is_head ? "" : "\n");

	if (h->way && h->way->is_laptop)
		http1_drop(h, h->way);
	h->way = NULL;
	buf_free(&h->down);
	if (n < 0 || (size_t)n >= sizeof(reply) || buf_insert(&h->down, 0, reply, (size_t)n)) {
		http1_end(h, false);
		return;
	}
	h->down.ready = h->down.end;
	journal_add(h->base.a, &h->now->journal, status, false);
	h->phase = LINGERING;
	h->again = true;
}

/* --- when none comes ------------------------------------------------------------------------------------------------------ */

static void try_again(struct http1 *h)
{
	/* `asked` is not set for the application's. */
	struct rule *r = h->way->is_laptop ? rule_ref_find(h->base.a, &h->now->asked) : NULL;

	http1_drop(h, h->way);
	h->retried = h->again = true;
	h->up.sent = h->up.start;
	h->up.hold = false;
	h1_answer_restart(h->h1);
	if (r)
		http1_to_laptop(h, r);
	else
		http1_to_application(h);
}

/* Part of an answer is here, or has gone. */
static bool has_begun(const struct http1 *h)
{
	return h1_answer_begun(h->h1) || buf_has(&h->down);
}

bool http1_may_ask_again(const struct http1 *h)
{
	return !has_begun(h) && h->up.hold && !h->retried;
}

void http1_lost(struct http1 *h)
{
	struct answerer *w = h->way;
	char text[RULE_NAME_LEN + 80];

	if (has_begun(h)) { /* the client has to see that it ends */
		http1_end(h, !w->end.broken);
		return;
	}
	if (http1_may_ask_again(h)) {
		try_again(h);
	} else if (w->is_laptop) {
		port_figures(h->base.a, h->base.port)->no_answer++;
		snprintf(text, sizeof(text),
			 "culvert: the laptop of %s ended the connection without an answer.",
			 h->now->asked.name);
		http1_reply(h, 502, NULL, text);
	} else {
		http1_end(h, !w->end.broken);
	}
}

static void bad_answer(struct http1 *h)
{
	static struct log_limit limit;
	char text[RULE_NAME_LEN + 160];

	port_figures(h->base.a, h->base.port)->bad_answers++;
	log_limited(&limit, 60 * NSEC_PER_SEC, "port %u: an answer that is not HTTP/1: %s",
		    h->base.port->target, h1_why(h->h1));
	if (!h->way->is_laptop) {
		http1_join(h, h->way);
	} else if (h1_answer_begun(h->h1)) {
		http1_end(h, false);
	} else {
		snprintf(text, sizeof(text),
			 "culvert: the laptop of %s did not answer with HTTP/1: %s.",
			 h->now->asked.name, h1_why(h->h1));
		http1_reply(h, 502, NULL, text);
	}
}

/* --- reading ---------------------------------------------------------------------------------------------------------------- */

static bool put_tag(struct http1 *h)
{
	char tag[RULE_NAME_LEN + 32];
	/* Behind OWNER/ stands the intercept's name. */
	const char *name = h->way->is_laptop ? h->way->rule->name : "", *slash = strrchr(name, '/');
	int owner = slash ? (int)(slash - name) : 0;
	const uint8_t *head = buf_at(&h->down);
	size_t line =
		(size_t)((const uint8_t *)memchr(head, '\n', h->down.end - h->down.ready) - head) +
		1;
	int n = h->way->is_laptop
			? snprintf(tag, sizeof(tag), "x-culvert-served-by: %.*s\r\n", owner, name)
			: snprintf(tag, sizeof(tag), "x-culvert-served-by: pod\r\n");

	if (buf_insert(&h->down, h->down.ready + line, tag, (size_t)n))
		return false;
	h->down.ready += (size_t)n;
	return true;
}

static bool take_head(struct http1 *h, size_t n)
{
	int status = h1_head(h->h1)->status;

	h->up.hold = false;
	if (status < 200 && status != 101) {
		h->down.ready += n;
		return true;
	}
	h->status = status;
	if (h->tag && !put_tag(h)) {
		http1_end(h, false);
		return false;
	}
	h->down.ready += n;
	return true;
}

/* Request and answer are over. */
static void finish(struct http1 *h)
{
	struct answerer *w = h->way;

	journal_add(h->base.a, &h->now->journal, h->status, w->is_laptop);
	free(steal_ptr(h->now));
	h->phase = IDLE;
	h->answered++;
	w->end.can_read = false; /* what else is there is told again */
	if (!h1_keeps(h->h1) || (h->client.eof && h->up.end == h->up.ready) || w->end.deaf ||
	    w->end.eof) {
		http1_end(h, true);
		return;
	}
	h->again |= buf_has(&h->up) || h->client.can_read;
	if (w->is_laptop && !rule_ref_find(h->base.a, w->rule))
		http1_drop(h, w);
}

static bool read_more(struct http1 *h)
{
	struct end *e = &h->way->end;
	bool begun = h1_answer_begun(h->h1);

	if (http1_read(h, e, &h->down, begun ? AGENT_SCRATCH : HTTP1_HEAD_READ))
		return true;
	if (h->over || (!e->eof && !e->broken))
		return false;
	if (e->eof && h1_answer_eof(h->h1) == H1_END)
		return true;
	http1_lost(h);
	return false;
}

static bool start_part(struct http1 *h)
{
	uint64_t left = h1_answer_left(h->h1);

	if (left < HTTP1_PART_MIN || h->down.ready < h->down.end || h->down.sent < h->down.ready)
		return false;
	if (relay_part_new(&h->down_part, h->way->end.s, h->client.s, left)) {
		http1_end(h, false);
		return false;
	}
	return true;
}

static bool run_part(struct http1 *h)
{
	struct end *in = &h->way->end;
	uint64_t n;
	int r;

	if (h->client.blocked || (!in->can_read && !in->eof))
		return false;
	r = relay_part_run(h->down_part, &n);
	h1_answer_skip(h->h1, n);
	switch (r) {
	case PART_DONE:
		relay_part_free(steal_ptr(h->down_part));
		if (h1_answer_left(h->h1) == UINT64_MAX) { /* its end was the answer's */
			in->eof = true;
			(void)h1_answer_eof(h->h1);
		}
		return true;
	case PART_WANTS_IN:
		in->can_read = false;
		return false;
	case PART_WANTS_OUT:
		h->client.blocked = true;
		return false;
	default: /* it ended too early, or one of them broke */
		http1_end(h, r == PART_CUT);
		return false;
	}
}

/* False: nothing more now. */
static bool step(struct http1 *h)
{
	const struct buf *b = &h->down;
	size_t n;

	switch (h1_answer(h->h1, buf_at(b), b->end - b->ready, &n)) {
	case H1_MORE:
		return http1_send(&h->client, &h->down, false) && read_more(h);
	case H1_HEAD:
		return take_head(h, n);
	case H1_BODY:
	case H1_END:
		h->down.ready += n;
		return true;
	case H1_TUNNEL:
		if (take_head(h, n))
			http1_join(h, h->way);
		return false;
	case H1_BAD:
		break;
	}
	bad_answer(h);
	return false;
}

/* The answer is complete and the last. Where more of the request is on the way a reset would take the answer along. */
static void end_behind(struct http1 *h)
{
	if (h1_request_over(h->h1) || h->cut) {
		http1_end(h, true);
		return;
	}
	journal_add(h->base.a, &h->now->journal, h->status, h->way->is_laptop);
	h->phase = LINGERING;
}

void http1_answers(struct http1 *h)
{
	bool more = true;

	while (more && !h->over && h->phase == RUNNING) {
		bool over = h1_answer_over(h->h1);

		/* All that is here goes in one write. */
		if ((over || h->down.ready == h->down.end) &&
		    !http1_send(&h->client, &h->down, false))
			break;
		if (over) {
			/* Bytes behind it are nobody's answer. */
			bool ends = h->down.end > h->down.ready || !h1_keeps(h->h1) || h->cut;

			if (h1_done(h->h1) && h->down.end == h->down.ready)
				finish(h);
			else if (ends)
				end_behind(h);
			break;
		}
		more = h->down_part || start_part(h) ? run_part(h) : step(h);
	}
}
