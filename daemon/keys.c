/* SPDX-License-Identifier: Apache-2.0 */
/* This laptop's key and last timestamp, one pair per invite. */
#include <errno.h>
#include <stdio.h>

#include "base/file.h"
#include "daemon/keys.h"

/* How far the stored timestamp runs ahead. */
#define STAMP_AHEAD (300 * NSEC_PER_SEC)

static int store(struct keys *k, nsec_t stamp, struct error *e)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%llu\n", (unsigned long long)stamp);
	int err = file_write_atomic(k->stamp_path, text, (size_t)n, 0600, e);

	if (err)
		return error_wrap(e, err, "the last handshake's time cannot be stored");
	k->stored = stamp;
	return 0;
}

static int load_stamp(struct keys *k, struct error *e)
{
	cleanup(free_ptr) char *text = NULL;
	unsigned long long value = 0;
	size_t len;
	nsec_t now = clock_real();
	int err = file_read(k->stamp_path, 64, &text, &len, e);

	if (err && err != -ENOENT)
		return err;
	if (!err && sscanf(text, "%llu", &value) != 1)
		return error_set(e, -EINVAL, "%s: not a time; remove the file", k->stamp_path);
	k->last = value;
	return store(k, MAX(now, k->last) + STAMP_AHEAD, e);
}

int keys_load(struct keys *k, const char *state_dir, const struct invite_claim *claim,
	      struct error *e)
{
	char folder[300], hex[2 * INVITE_ID_LEN + 1], path[384];
	unsigned i;
	int err;

	memset(k, 0, sizeof(*k));
	if (!claim) {
		identity_generate(&k->id);
		return 0;
	}
	for (i = 0; i < INVITE_ID_LEN; i++)
		snprintf(hex + 2 * i, 3, "%02x", claim->id[i]);
	snprintf(folder, sizeof(folder), "%s/keys", state_dir);
	snprintf(path, sizeof(path), "%s/%s.key", folder, hex);
	snprintf(k->stamp_path, sizeof(k->stamp_path), "%s/%s.stamp", folder, hex);
	err = dir_make(folder, 0700, e);
	if (!err)
		err = identity_load(&k->id, path, e);
	if (!err)
		err = load_stamp(k, e);
	if (err)
		crypto_wipe(&k->id, sizeof(k->id));
	return err;
}

int keys_stamp(struct keys *k, nsec_t last, struct error *e)
{
	k->last = MAX(k->last, last);
	if (!*k->stamp_path || k->last + STAMP_AHEAD / 2 < k->stored)
		return 0;
	return store(k, k->last + STAMP_AHEAD, e);
}

void keys_close(struct keys *k)
{
	/* A failure leaves the one that runs ahead: right too. */
	if (k->last && k->stored)
		(void)store(k, k->last, NULL);
	crypto_wipe(&k->id, sizeof(k->id));
}
