/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a user's own files lie: the daemon's socket and lock in a runtime folder, keys and logs in
 * a state folder. Here, because the command line and the daemon must agree and may not include each
 * other.
 */
#pragma once

#include "base/error.h"

struct userdir {
	char runtime[256]; /* of the socket; 0700, ours */
	char socket[320];  /* $CULVERT_SOCKET, or daemon.sock in it */
	char state[256];   /* $XDG_STATE_HOME/culvert or ~/.local/state/culvert */
	char log[320];	   /* what a daemon started by `culvert connect` writes */
};

/* Fills the names from the environment; makes nothing. -ENAMETOOLONG, -ENOENT (no home). */
int userdir_find(struct userdir *d, struct error *e);
/* Makes both folders, 0700, and refuses those of somebody else or open to others. */
int userdir_make(const struct userdir *d, struct error *e);
