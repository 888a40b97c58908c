/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This laptop's key and last timestamp, one pair per invite, in the state folder. The timestamp
 * that is stored runs ahead of what was sent, so that it need not be written at each handshake and
 * still holds after a crash: a peer refuses an initiation that is not newer than the last, even
 * when the clock was set back.
 */
#pragma once

#include "crypto/crypto.h"

struct keys {
	struct identity id;
	nsec_t last;   /* sent, or stored by the run before */
	nsec_t stored; /* in the file: above all that may have been sent */
	char stamp_path[384];
};

/* Reads or makes the key of this invite, and stores a timestamp ahead of the first use. `claim` NULL: a fresh key that
 * is kept nowhere, so nobody can replay what it said. */
int keys_load(struct keys *k, const char *state_dir, const struct invite_claim *claim,
	      struct error *e);
/* `last` was sent: written when it comes near to what is stored. */
int keys_stamp(struct keys *k, nsec_t last, struct error *e);
/* Orderly end: stores the exact one and wipes the key. */
void keys_close(struct keys *k);
