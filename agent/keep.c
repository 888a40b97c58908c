/* SPDX-License-Identifier: Apache-2.0 */
/* The state folder: our key, and the last rules, so that a restart without a manager changes nothing. */
#include <errno.h>
#include <stdio.h>

#include "agent/internal.h"
#include "base/file.h"
#include "base/log.h"

enum { PATH_LEN = 4096, KEEP_FILE_MAX = 2 << 20, KEEP_VERSION = 1 };

static int path_in(char *to, const struct agent *a, const char *name, struct error *e)
{
	if (snprintf(to, PATH_LEN, "%s/%s", a->cfg->state, name) >= PATH_LEN)
		return error_set(e, -ENAMETOOLONG, "%s: the path is too long", a->cfg->state);
	return 0;
}

static void hex(char *to, const uint8_t *from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		snprintf(to + 2 * i, 3, "%02x", from[i]);
}

static bool unhex(uint8_t *to, size_t len, const char *text)
{
	if (!text || strlen(text) != 2 * len || strspn(text, "0123456789abcdef") != 2 * len)
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned v;

		sscanf(text + 2 * i, "%2x", &v);
		to[i] = (uint8_t)v;
	}
	return true;
}

static int load(struct agent *a, struct error *e)
{
	cleanup(free_ptr) char *text = NULL;
	char path[PATH_LEN];
	json_error_t je;
	json_t *all;
	size_t len = 0;
	int r = path_in(path, a, "agent.json", e);

	if (r || (access(path, F_OK) && errno == ENOENT))
		return r;
	r = file_read(path, KEEP_FILE_MAX, &text, &len, e);
	if (r)
		return r;
	all = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
	if (!all)
		return error_set(e, -EINVAL, "%s:%d:%d: %s", path, je.line, je.column, je.text);
	a->keep.has_invite = unhex(a->keep.invite, INVITE_ID_LEN,
				   json_string_value(json_object_get(all, "invite")));
	a->keep.stamp = (nsec_t)json_integer_value(json_object_get(all, "stamp"));
	r = rules_from_json(&a->rules, all, e);
	json_decref(all);
	return r ? error_wrap(e, r, "%s", path) : 0;
}

void keep_load(struct agent *a)
{
	struct error e;

	if (a->cfg->state && load(a, &e))
		log_warn("state: %s; starting without the rules of the last run", e.text);
}

static int save(struct agent *a, struct error *e)
{
	char path[PATH_LEN], invite[2 * INVITE_ID_LEN + 1] = "";
	json_t *all = rules_to_json(&a->rules);
	char *text = NULL;
	int r = path_in(path, a, "agent.json", e);

	if (a->keep.has_invite)
		hex(invite, a->keep.invite, INVITE_ID_LEN);
	if (r == 0 && all && json_object_set_new(all, "version", json_integer(KEEP_VERSION)) == 0 &&
	    json_object_set_new(all, "invite", json_string(invite)) == 0 &&
	    json_object_set_new(all, "stamp", json_integer((json_int_t)a->keep.stamp)) == 0)
		text = json_dumps(all, JSON_INDENT(1));
	json_decref(all);
	if (r)
		return r;
	if (!text)
		return error_errno(e, -ENOMEM, "state");
	r = file_write_atomic(path, text, strlen(text), 0600, e);
	free(text);
	return r;
}

void keep_save(struct agent *a)
{
	struct error e;
	int r = a->cfg->state ? save(a, &e) : 0;

	if (r && !a->keep_failed)
		log_warn("state: %s; a restart may miss the last rules", e.text);
	a->keep_failed = r != 0;
}

static int read_invite(const struct agent *a, struct invite *inv, struct error *e)
{
	char *text = NULL;
	size_t len = 0;
	int r = file_read(a->cfg->invite, INVITE_TEXT_MAX * 2, &text, &len, e);

	if (r)
		return r;
	r = invite_parse(inv, text, len, e);
	crypto_wipe(text, len);
	free(text);
	return r ? error_wrap(e, r, "%s", a->cfg->invite) : 0;
}

int keep_identity(struct agent *a, struct invite *inv, struct identity *id, struct error *e)
{
	char path[PATH_LEN];
	int r = read_invite(a, inv, e);

	if (r == 0)
		r = dir_make(a->cfg->state, 0700, e);
	if (r == 0)
		r = path_in(path, a, "key", e);
	if (r)
		return r;
	if (a->keep.has_invite && memcmp(a->keep.invite, inv->claim.id, INVITE_ID_LEN) &&
	    unlink(path) && errno != ENOENT)
		return error_errno(e, -errno, "%s", path);
	r = identity_load(id, path, e);
	if (r)
		return r;
	if (!a->keep.has_invite || memcmp(a->keep.invite, inv->claim.id, INVITE_ID_LEN)) {
		memcpy(a->keep.invite, inv->claim.id, INVITE_ID_LEN);
		a->keep.has_invite = true;
		r = save(a, e); /* before the key is used: else the next start would make another */
	}
	return r;
}
