/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record: our Session object in the cluster (docs/kubernetes.md): made, renewed while it lasts, watched, and deleted by whatever way
 * this ends: also while it is being made, when the answer is waited for.
 */
#pragma once

#include "crypto/crypto.h"
#include "kube/kube.h"

struct event_base;
struct record;

struct record_ops {
	/* The answer to record_make(). After a good one it is renewed and watched from now on. */
	void (*made)(void *arg, const struct kube_reply *reply);
	/* Somebody deleted it. Once. */
	void (*gone)(void *arg);
};

/* Its name is the key in hex. */
int record_new(struct record **rp, struct event_base *base, struct kube_client *client,
	       const uint8_t key[static KEY_LEN], const struct record_ops *ops, void *arg);
void record_free(struct record *r); /* NULL ok; what was made stays: see record_end() */
/* Makes the object, of `user`; once. -ENOMEM. */
int record_make(struct record *r, const char *user);
/* The network changed or the laptop slept: renews it, unless that was done a moment ago. */
void record_kick(struct record *r);
/* Deletes it, if it may be there, and calls `done` once from the loop, a few seconds later at most; again: another `done` instead.
 * `left_behind`: why it could not, or "". No other callback comes from now on. */
void record_end(struct record *r, void (*done)(void *arg, const char *left_behind), void *arg);

const char *record_name(const struct record *r);
const char *record_uid(const struct record *r);	    /* "" before it is made */
const char *record_trouble(const struct record *r); /* why it could not be renewed, or "" */
