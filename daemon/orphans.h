/* SPDX-License-Identifier: Apache-2.0 */
/*
 * orphans: Sessions of daemons that were killed. While a daemon has a Session it holds a lock on a file of that name in
 * STATE/sessions, which says at which API server. A file that nobody holds is of a daemon that could not delete its Session: the next
 * one to connect there does, so that nobody waits for the ports of his own former self.
 */
#pragma once

struct kube_client;
struct orphans;

/* Without a folder or memory there is none (NULL), and a killed daemon's Session ends by time; all calls take that. */
struct orphans *orphans_new(struct kube_client *client, const char *state_dir, const char *server);
void orphans_free(
	struct orphans *o); /* our file stays, unlocked, unless orphans_unmark() was called */
/* The Session `name` is about to be made: from now on the file is there. */
void orphans_mark(struct orphans *o, const char *name);
void orphans_unmark(struct orphans *o); /* it is deleted */
/* Deletes what others left behind at this server: asks, and does not wait. Once. */
void orphans_sweep(struct orphans *o);
