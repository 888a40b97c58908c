/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gather: several objects and lists from the API server, all asked for at once, and one callback when all are answered, or when
 * one has found that the API server cannot be reached: then all that are open have failed with it.
 */
#pragma once

#include <jansson.h>

#include "base/error.h"
#include "kube/kube.h"

enum { GATHER_MAX = 10, GATHER_PAGE = 500, GATHER_OBJECTS_MAX = 50000 };

struct gather;

struct answer {
	struct gather *gather;
	struct kube_request *call;
	char path[512];
	bool is_list;
	bool (*keep)(const json_t *object);
	json_t *object; /* a list: the array of its items, of all pages; NULL with `failure` */
	enum kube_failure failure;
	struct error why; /* the sentence, and what grants it if it is a right */
};

struct gather {
	struct kube_client *client;
	void (*done)(void *arg); /* may clear it */
	void *arg;
	unsigned open;
	struct answer answer[GATHER_MAX];
};

void gather_init(struct gather *g, struct kube_client *client, void (*done)(void *arg), void *arg);
/* Asks question `i`, which was not asked before. The path must be a valid one. */
void gather_object(struct gather *g, unsigned i, const char *path);
/* A collection, page by page; `keep` says which of its items are of use, NULL = all. */
void gather_list(struct gather *g, unsigned i, const char *path,
		 bool (*keep)(const json_t *object));
/* After the last question: false = not one could be asked, and `done` never comes. */
bool gather_asked(const struct gather *g);
/* Cancels what is open. Zeroed is fine; it may be used again after gather_init(). */
void gather_clear(struct gather *g);

/* The sentence of a failed reply, for what we do in the user's name: with what grants a right that is missing, or what our CRDs
 * being away means. */
void reply_sentence(struct error *e, const struct kube_reply *reply);
