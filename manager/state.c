/* SPDX-License-Identifier: Apache-2.0 */
/* The state folder: key, secret, lock and state.json. */
#include "manager/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>

#include "base/file.h"
#include "base/log.h"

enum { STATE_VERSION = 1, PATH_LEN = 4096 };

struct store {
	struct identity identity;
	uint8_t secret[KEY_LEN];
	int lock;
	char path[PATH_LEN]; /* of state.json */
};

static int path_in(char *to, const char *folder, const char *name, struct error *e)
{
	if (snprintf(to, PATH_LEN, "%s/%s", folder, name) >= PATH_LEN)
		return error_set(e, -ENAMETOOLONG, "%s: the path is too long", folder);
	return 0;
}

/* A key that is gone is not replaced in silence: all who joined have pinned it. */
static int check_keys(const char *folder, struct error *e)
{
	static const char *const keys[] = {"key", "invite-secret"};
	char path[PATH_LEN];
	int r = path_in(path, folder, "state.json", e);

	if (r || access(path, F_OK))
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		r = path_in(path, folder, keys[i], e);
		if (r)
			return r;
		if (access(path, F_OK))
			return error_set(e, -ENOENT,
					 "%s is missing, though state.json beside it knows peers "
					 "that rely on it: put "
					 "it back, or remove state.json, too, and give everybody a "
					 "new invite",
					 path);
	}
	return 0;
}

/* The secret has the form of a private key, so it is kept and checked as one. */
static int load_keys(struct store *s, const char *folder, struct error *e)
{
	struct identity secret;
	char path[PATH_LEN];
	int r = check_keys(folder, e);

	if (r == 0)
		r = path_in(path, folder, "key", e);
	if (r == 0)
		r = identity_load(&s->identity, path, e);
	if (r == 0)
		r = path_in(path, folder, "invite-secret", e);
	if (r == 0)
		r = identity_load(&secret, path, e);
	if (r)
		return r;
	memcpy(s->secret, secret.priv, KEY_LEN);
	crypto_wipe(&secret, sizeof(secret));
	return 0;
}

static int take_lock(struct store *s, const char *folder, struct error *e)
{
	char path[PATH_LEN];
	int r = path_in(path, folder, "lock", e);

	if (r)
		return r;
	s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock < 0)
		return error_errno(e, -errno, "%s", path);
	if (flock(s->lock, LOCK_EX | LOCK_NB))
		return error_set(e, -errno, "%s: another manager uses this state folder.", folder);
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	close_fd(&s->lock);
	crypto_wipe(s, sizeof(*s));
	free(s);
}

static void free_store(struct store **s)
{
	store_close(*s);
}

int store_open(struct store **sp, const char *folder, bool lock, struct error *e)
{
	cleanup(free_store) struct store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return error_errno(e, -ENOMEM, "state");
	s->lock = -1;
	r = dir_make(folder, 0700, e);
	if (r == 0 && lock)
		r = take_lock(s, folder, e);
	if (r == 0)
		r = load_keys(s, folder, e);
	if (r == 0)
		r = path_in(s->path, folder, "state.json", e);
	if (r)
		return r;
	*sp = steal_ptr(s);
	return 0;
}

const struct identity *store_identity(const struct store *s)
{
	return &s->identity;
}

const uint8_t *store_secret(const struct store *s)
{
	return s->secret;
}

/* --- writing ---------------------------------------------------------------------------------------------- */

static void hex(char *to, const uint8_t *from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		snprintf(to + 2 * i, 3, "%02x", from[i]);
}

static json_t *peer_to_json(const struct peer_record *p)
{
	char pub[KEY_TEXT_LEN], psk[KEY_TEXT_LEN], invite[2 * INVITE_ID_LEN + 1], text[ADDR_STRLEN];
	json_t *j;

	key_format(p->pub, pub);
	key_format(p->psk, psk);
	hex(invite, p->invite, INVITE_ID_LEN);
	j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "name", p->name, "role",
		      p->role == ROLE_LAPTOP ? "laptop" : "agent", "key", pub, "psk", psk, "invite",
		      invite, "expiry", (json_int_t)p->expiry);
	crypto_wipe(psk, sizeof(psk));
	if (p->v4.family)
		json_object_set_new(j, "address", json_string(ipaddr_format(&p->v4, text)));
	if (p->endpoint.sa.sa_family)
		json_object_set_new(j, "endpoint",
				    json_string(sockaddr_format(&p->endpoint, text)));
	return j;
}

static json_t *spent_to_json(const struct spent_invite *s)
{
	char id[2 * INVITE_ID_LEN + 1];

	hex(id, s->id, INVITE_ID_LEN);
	return json_pack("{s:s, s:I}", "invite", id, "expiry", (json_int_t)s->expiry);
}

int store_save(struct store *s, const struct snapshot *snap, struct error *e)
{
	json_t *peers = json_array(), *intercepts = json_array(), *spent = json_array(), *all;
	char *text = NULL;
	int r;

	for (unsigned i = 0; i < snap->npeers; i++)
		json_array_append_new(peers, peer_to_json(snap->peer[i]));
	for (unsigned i = 0; i < snap->nintercepts; i++)
		json_array_append_new(intercepts, intercept_to_json(snap->intercept[i]));
	for (unsigned i = 0; i < snap->nspent; i++)
		json_array_append_new(spent, spent_to_json(&snap->spent[i]));
	all = json_pack("{s:i, s:I, s:o, s:o, s:o}", "version", STATE_VERSION, "stamp",
			(json_int_t)snap->stamp, "peers", peers, "intercepts", intercepts, "spent",
			spent);
	/* Short of memory an item is left out: rather the old file than one without it. */
	if (json_array_size(peers) == snap->npeers &&
	    json_array_size(intercepts) == snap->nintercepts &&
	    json_array_size(spent) == snap->nspent)
		text = all ? json_dumps(all, JSON_INDENT(1)) : NULL;
	json_decref(all);
	if (!text)
		return error_errno(e, -ENOMEM, "%s", s->path);
	r = file_write_atomic(s->path, text, strlen(text), 0600, e);
	crypto_wipe(text, strlen(text));
	free(text);
	return r;
}

/* --- reading ---------------------------------------------------------------------------------------------- */

static int unhex(uint8_t *to, size_t len, const char *text)
{
	if (strlen(text) != 2 * len || strspn(text, "0123456789abcdef") != 2 * len)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		unsigned v;

		sscanf(text + 2 * i, "%2x", &v);
		to[i] = (uint8_t)v;
	}
	return 0;
}

static int peer_from_json(struct peer_record *p, const json_t *j)
{
	const char *name, *role, *pub, *psk, *invite, *address = NULL, *endpoint = NULL;
	json_int_t expiry = 0;

	*p = (struct peer_record){.role = ROLE_AGENT};
	if (json_unpack((json_t *)(uintptr_t)j, "{s:s, s:s, s:s, s:s, s:s, s?s, s?s, s?I}", "name",
			&name, "role", &role, "key", &pub, "psk", &psk, "invite", &invite,
			"address", &address, "endpoint", &endpoint, "expiry", &expiry))
		return -EINVAL;
	p->expiry = (uint64_t)expiry;
	if (!name_valid(name) || key_parse(p->pub, pub) || key_parse(p->psk, psk) ||
	    unhex(p->invite, INVITE_ID_LEN, invite))
		return -EINVAL;
	snprintf(p->name, sizeof(p->name), "%s", name);
	if (!strcmp(role, "laptop"))
		p->role = ROLE_LAPTOP;
	else if (strcmp(role, "agent"))
		return -EINVAL;
	if (address && (ipaddr_parse(&p->v4, address) || p->v4.family != 4))
		return -EINVAL;
	if (endpoint && sockaddr_parse(&p->endpoint, endpoint))
		return -EINVAL;
	return 0;
}

static int visit_all(const char *path, const json_t *all, const struct store_visitor *v,
		     struct error *e)
{
	static const char *const lists[] = {"peers", "spent", "intercepts"};
	const json_t *item;
	size_t i;
	int r = 0;

	/* Taken for empty, the next write would forget them. */
	for (i = 0; i < ARRAY_SIZE(lists); i++) {
		if (!json_is_array(json_object_get(all, lists[i])))
			return error_set(e, -EINVAL, "%s: the list '%s' is missing", path,
					 lists[i]);
	}
	json_array_foreach(json_object_get(all, "peers"), i, item)
	{
		struct peer_record p;

		if (peer_from_json(&p, item))
			return error_set(e, -EINVAL, "%s: peer %zu is damaged", path, i);
		r = v->peer ? v->peer(v->arg, &p, e) : 0;
		crypto_wipe(&p, sizeof(p));
		if (r)
			return r;
	}
	json_array_foreach(json_object_get(all, "spent"), i, item)
	{
		struct spent_invite s = {
			.expiry = (uint64_t)json_integer_value(json_object_get(item, "expiry"))};
		const char *id = json_string_value(json_object_get(item, "invite"));

		if (!id || unhex(s.id, INVITE_ID_LEN, id))
			return error_set(e, -EINVAL, "%s: spent invite %zu is damaged", path, i);
		r = v->spent ? v->spent(v->arg, &s, e) : 0;
		if (r)
			return r;
	}
	json_array_foreach(json_object_get(all, "intercepts"), i, item)
	{
		struct intercept ic;

		r = intercept_from_json(&ic, item, e);
		if (r == -ENOTSUP) {
			/* What a library's new release thinks of a pattern keeps nobody else out. */
			if (v->intercept)
				log_warn("%s: intercept %zu is ended: %s", path, i, e->text);
			continue;
		}
		if (r)
			return error_wrap(e, r, "%s: intercept %zu is damaged", path, i);
		r = v->intercept ? v->intercept(v->arg, &ic, e) : 0;
		if (r)
			return r;
	}
	return 0;
}

int store_load(struct store *s, nsec_t *stamp, const struct store_visitor *v, struct error *e)
{
	cleanup(free_ptr) char *text = NULL;
	json_error_t je;
	json_t *all;
	size_t len = 0;
	int r;

	if (access(s->path, F_OK) && errno == ENOENT)
		return 0;
	r = file_read(s->path, STATE_FILE_MAX, &text, &len, e);
	if (r)
		return r;
	all = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
	crypto_wipe(text, len);
	if (!all)
		return error_set(e, -EINVAL, "%s:%d:%d: %s", s->path, je.line, je.column, je.text);
	if (json_integer_value(json_object_get(all, "version")) != STATE_VERSION)
		r = error_set(e, -EINVAL, "%s: written by another version of culvert-manager",
			      s->path);
	if (r == 0)
		r = visit_all(s->path, all, v, e);
	if (r == 0)
		*stamp = (nsec_t)json_integer_value(json_object_get(all, "stamp"));
	json_decref(all);
	return r;
}
