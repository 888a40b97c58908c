/* SPDX-License-Identifier: Apache-2.0 */
/* The file of a login: $XDG_STATE_HOME/culvert/login/HASH.json. It names what it is for, since a hash may have a twin. */
#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "login/login.h"

enum { PATH_SIZE = 512, FILE_MAX = 3 * LOGIN_TOKEN_MAX };

static int make_path(char path[static PATH_SIZE], const char *state, const struct login_place *p,
		     struct error *e)
{
	static const uint64_t key[2] = {0x63756c76657274ULL, 0x6c6f67696eULL};
	cleanup(free_ptr) char *text = NULL;
	int len = asprintf(&text, "%s\n%s\n%s", p->context, p->server, p->manager_ns);

	if (len < 0) {
		text = NULL;
		return error_errno(e, -ENOMEM, "login");
	}
	if (snprintf(path, PATH_SIZE, "%s/login/%016llx.json", state,
		     (unsigned long long)siphash(key, text, (size_t)len)) >= PATH_SIZE)
		return error_set(e, -ENAMETOOLONG, "%s: the path is too long", state);
	return 0;
}

static const char *text_of(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

static bool is_for(const json_t *j, const struct login_place *p)
{
	return !strcmp(text_of(j, "context"), p->context) &&
	       !strcmp(text_of(j, "server"), p->server) &&
	       !strcmp(text_of(j, "manager_namespace"), p->manager_ns);
}

static bool take(char *to, size_t size, const json_t *j, const char *key)
{
	return snprintf(to, size, "%s", text_of(j, key)) < (int)size;
}

static bool parse(struct login *l, const json_t *j)
{
	const json_t *expires = json_object_get(j, "expires");

	memset(l, 0, sizeof(*l));
	l->expires = json_integer_value(expires);
	return take(l->issuer, sizeof(l->issuer), j, "issuer") &&
	       take(l->name, sizeof(l->name), j, "name") &&
	       take(l->subject, sizeof(l->subject), j, "subject") &&
	       take(l->id_token, sizeof(l->id_token), j, "id_token") &&
	       take(l->refresh_token, sizeof(l->refresh_token), j, "refresh_token") && *l->name &&
	       (!*l->issuer || *l->id_token) && (!expires || json_is_integer(expires));
}

static int check_private(const char *path, struct error *e)
{
	struct stat st;

	if (lstat(path, &st))
		return error_errno(e, -errno, "%s", path);
	if (!S_ISREG(st.st_mode) || st.st_uid != getuid() || st.st_mode & 077)
		return error_set(e, -EINVAL,
				 "%s is somebody else's or open to others: it does not count; run: "
				 "culvert login",
				 path);
	return 0;
}

int login_load(struct login *l, const char *state, const struct login_place *p, struct error *e)
{
	cleanup(free_ptr) char *text = NULL;
	char path[PATH_SIZE];
	size_t len;
	json_t *j;
	int err = make_path(path, state, p, e);

	if (!err)
		err = check_private(path, e);
	if (!err)
		err = file_read(path, FILE_MAX, &text, &len, e);
	if (err)
		return err;
	j = json_loadb(text, len, 0, NULL);
	if (j && !is_for(j, p))
		err = error_set(e, -ENOENT, "not logged in");
	else if (!j || !parse(l, j))
		err = error_set(e, -EINVAL, "%s is damaged; run: culvert login", path);
	json_decref(j);
	return err;
}

int login_save(const struct login *l, const char *state, const struct login_place *p,
	       struct error *e)
{
	json_t *j = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:I}", "context", p->context, "server",
			      p->server, "manager_namespace", p->manager_ns, "issuer", l->issuer,
			      "name", l->name, "subject", l->subject, "expires",
			      (json_int_t)l->expires);
	cleanup(free_ptr) char *text = NULL;
	char path[PATH_SIZE], folder[PATH_SIZE];
	int err = make_path(path, state, p, e);

	if (j && *l->id_token)
		json_object_set_new(j, "id_token", json_string(l->id_token));
	if (j && *l->refresh_token)
		json_object_set_new(j, "refresh_token", json_string(l->refresh_token));
	text = j ? json_dumps(j, JSON_INDENT(2)) : NULL;
	json_decref(j);
	if (!err && !text)
		err = error_set(e, -EINVAL, "login: a name or a token is no text");
	snprintf(folder, sizeof(folder), "%s/login", state);
	if (!err)
		err = dir_make(folder, 0700, e);
	return err ? err : file_write_atomic(path, text, strlen(text), 0600, e);
}

int login_remove(const char *state, const struct login_place *p, struct error *e)
{
	char path[PATH_SIZE];
	int err = make_path(path, state, p, e);

	if (!err && unlink(path))
		err = errno == ENOENT ? error_set(e, -ENOENT, "not logged in")
				      : error_errno(e, -errno, "cannot remove %s", path);
	return err;
}
