/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The live list: a ring of the last requests, and what of it has been told. It goes to the manager only while somebody looks,
 * at most so many a second; of more the newest are told, and how many were not.
 */
#include <stdio.h>

#include "agent/internal.h"

enum { JOURNAL_TAKEN = 40 /* in one of five notifications a second */ };

struct journal {
	uint64_t total, told; /* requests since the start; up to which they were told */
	struct entry {
		struct journal_request q;
		nsec_t took;
		int status;
		bool by_laptop;
	} ring[JOURNAL_LEN];
};

/* What may be printed: a path is ASCII, and what is not is no path. */
static void copy_plain(char *to, size_t size, struct http_text from)
{
	size_t n = MIN(from.len, size - 1);

	for (size_t i = 0; i < n; i++)
		to[i] = from.p[i] >= ' ' && from.p[i] < 0x7f ? from.p[i] : '?';
	to[n] = '\0';
}

void journal_begin(struct journal_request *q, const struct rule *rule, const struct http_head *head)
{
	struct http_text path = head->target;
	const char *query = path.len ? memchr(path.p, '?', path.len) : NULL;

	if (query)
		path.len = (size_t)(query - path.p); /* it may hold what nobody else is to see */
	q->uid[0] = '\0';
	if (rule)
		memcpy(q->uid, rule->uid, sizeof(q->uid));
	copy_plain(q->method, sizeof(q->method), head->method);
	copy_plain(q->path, sizeof(q->path), path);
	q->start = clock_boot();
}

void journal_add(struct agent *a, const struct journal_request *q, int status, bool by_laptop)
{
	struct journal *j = a->journal;
	struct entry *e;

	if (!j)
		j = a->journal = calloc(1, sizeof(*j));
	if (!j)
		return;
	e = &j->ring[j->total++ % JOURNAL_LEN];
	e->q = *q;
	e->took = clock_boot() - q->start;
	e->status = status;
	e->by_laptop = by_laptop;
}

/* `epoch`: how far clock_real() is ahead of clock_boot(). */
static json_t *entry_json(const struct entry *e, nsec_t epoch)
{
	return json_pack("[s, I, s, s, i, I, s]", e->q.uid,
			 (json_int_t)((epoch + e->q.start) / NSEC_PER_MSEC), e->q.method, e->q.path,
			 e->status, (json_int_t)(e->took / NSEC_PER_MSEC),
			 e->by_laptop ? "laptop" : "pod");
}

json_t *journal_take(struct agent *a, bool all)
{
	struct journal *j = a->journal;
	nsec_t epoch = clock_real() - clock_boot();
	uint64_t from, dropped = 0;
	json_t *list;

	if (!j || (!all && j->told == j->total))
		return NULL;
	if (all) {
		from = j->total - MIN(j->total, (uint64_t)JOURNAL_LEN);
	} else {
		from = j->total - MIN(j->total - j->told, (uint64_t)JOURNAL_TAKEN);
		dropped = from - j->told;
	}
	list = json_array();
	for (; from < j->total; from++)
		json_array_append_new(list, entry_json(&j->ring[from % JOURNAL_LEN], epoch));
	j->told = j->total;
	return json_pack("{s:o, s:I}", "requests", list, "dropped", (json_int_t)dropped);
}
