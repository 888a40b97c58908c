/* SPDX-License-Identifier: Apache-2.0 */
/* Which files make up the kubeconfig, and where their relative paths start. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>

#include "base/file.h"
#include "kube/config.h"

void kube_files_free(struct kube_files *f)
{
	for (size_t i = 0; i < f->count; i++) {
		conf_free(f->file[i].doc);
		free(f->file[i].dir);
	}
	f->count = 0;
}

/* Joined by their text alone, as Go's filepath.Join does: a link in the path stays one. */
char *kube_path_join(const char *dir, const char *path)
{
	cleanup(free_ptr) char *whole = NULL;
	char *out, *end;

	if (*path == '/')
		dir = "";
	if (asprintf(&whole, "%s/%s", dir, path) < 0) {
		whole = NULL;
		return NULL;
	}
	out = malloc(strlen(whole) + 2);
	if (!out)
		return NULL;
	end = out;
	for (const char *p = whole; *p;) {
		size_t len;

		p += strspn(p, "/");
		len = strcspn(p, "/");
		if (len == 2 && !memcmp(p, "..", 2)) {
			while (end > out && *--end != '/')
				;
		} else if (len && !(len == 1 && *p == '.')) {
			*end++ = '/';
			memcpy(end, p, len);
			end += len;
		}
		p += len;
	}
	if (end == out)
		*end++ = '/';
	*end = '\0';
	return out;
}

/* The folder of `path`, absolute. */
static char *folder_of(const char *path)
{
	cleanup(free_ptr) char *cwd = getcwd(NULL, 0);
	cleanup(free_ptr) char *whole = kube_path_join(cwd ? cwd : "", path);
	char *slash = whole ? strrchr(whole, '/') : NULL;

	if (!slash)
		return NULL;
	slash[slash == whole] = '\0';
	return steal_ptr(whole);
}

/* Nothing but comments and document marks: kubectl takes such a file for an empty one. */
static bool is_blank(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		bool line_start = i == 0 || text[i - 1] == '\n';

		if (strchr(" \t\r\n", text[i]) && text[i])
			continue;
		if (line_start && len - i >= 3 && !memcmp(text + i, "---", 3) &&
		    (len - i == 3 || text[i + 3] == '\r' || text[i + 3] == '\n')) {
			i += 2;
			continue;
		}
		if (text[i] != '#')
			return false;
		while (i < len && text[i] != '\n')
			i++;
	}
	return true;
}

static int check_kind(const struct conf_node *root, struct error *e)
{
	cleanup(free_ptr) char *kind = NULL;
	cleanup(free_ptr) char *version = NULL;
	int r;

	if (!conf_is_map(root))
		return conf_error(root, e,
				  "this is no kubeconfig: expected a mapping (key: value)");
	r = kube_take_string(root, "kind", &kind, e);
	if (r == 0)
		r = kube_take_string(root, "apiVersion", &version, e);
	if (r)
		return r;
	if (kind && strcmp(kind, "Config"))
		return conf_error(conf_get(root, "kind"), e,
				  "this is no kubeconfig: its kind is '%.60s', not 'Config'", kind);
	if (version && strcmp(version, "v1"))
		return conf_error(conf_get(root, "apiVersion"), e,
				  "a kubeconfig of version '%.60s' is not known, only 'v1'",
				  version);
	return 0;
}

int kube_files_add(struct kube_files *f, const char *path, const char *text, size_t len,
		   struct error *e)
{
	struct kube_file *file = &f->file[f->count];
	int r;

	if (f->count == KUBE_FILES_MAX)
		return error_set(e, -E2BIG, "more than %d kubeconfig files are named",
				 KUBE_FILES_MAX);
	memset(file, 0, sizeof(*file));
	if (!(file->dir = folder_of(path)))
		return error_errno(e, -ENOMEM, "%s", path);
	f->count++; /* from here on kube_files_free() has it */
	if (is_blank(text, len))
		return 0;
	r = conf_parse(&file->doc, path, text, len, e);
	return r ? r : check_kind(conf_root(file->doc), e);
}

static int load(struct kube_files *f, const char *path, bool must_exist, struct error *e)
{
	cleanup(free_ptr) char *text = NULL;
	size_t len;
	int r = file_read(path, KUBE_FILE_MAX, &text, &len, e);

	if (r == -ENOENT && !must_exist)
		return 0;
	if (r)
		return error_wrap(e, r, "the kubeconfig is not readable");
	return kube_files_add(f, path, text, len, e);
}

/* The entries of $KUBECONFIG; one named twice counts once, else its names would clash with themselves. */
static int load_list(struct kube_files *f, const char *value, struct error *e)
{
	cleanup(free_ptr) char *list = strdup(value);
	char *seen[KUBE_FILES_MAX], *save = NULL;
	size_t n = 0;

	if (!list)
		return error_errno(e, -ENOMEM, "$KUBECONFIG");
	for (char *p = strtok_r(list, ":", &save); p; p = strtok_r(NULL, ":", &save)) {
		size_t i = 0;
		int r;

		while (i < n && strcmp(seen[i], p))
			i++;
		if (i < n)
			continue;
		if (n == KUBE_FILES_MAX)
			return error_set(e, -E2BIG, "$KUBECONFIG names more than %d files",
					 KUBE_FILES_MAX);
		seen[n++] = p;
		r = load(f, p, false, e);
		if (r)
			return r;
	}
	return 0;
}

int kube_files_find(struct kube_files *f, const struct kube_flags *flags, struct error *e)
{
	const char *value = flags->environment ? flags->environment : getenv("KUBECONFIG");
	const char *home = flags->home ? flags->home : getenv("HOME");
	char path[4096];

	if (flags->kubeconfig && *flags->kubeconfig)
		return load(f, flags->kubeconfig, true, e);
	if (value && *value)
		return load_list(f, value, e);
	if (!home || !*home) {
		const struct passwd *pw = getpwuid(getuid());

		home = pw ? pw->pw_dir : "/";
	}
	if (snprintf(path, sizeof(path), "%s/.kube/config", home) >= (int)sizeof(path))
		return error_set(e, -ENAMETOOLONG, "$HOME is too long");
	return load(f, path, false, e);
}
