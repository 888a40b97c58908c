/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One context out of the kubeconfig files. Merging is looking up: the entries of one kind are asked for by name, file
 * after file, and the first file that has the name gives the whole entry.
 */
#include "kube/config.h"

#include <errno.h>
#include <stdio.h>

/* --- life --------------------------------------------------------------------------------------------- */

static void secret_free(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

static void blob_free(struct kube_blob *b)
{
	if (b->data)
		explicit_bzero(b->data, b->len);
	free(b->data);
}

void kube_list_free(char **list)
{
	for (char **p = list; p && *p; p++)
		free(*p);
	free(list);
}

static void exec_free(struct kube_exec *x)
{
	if (!x)
		return;
	free(x->command);
	free(x->api);
	free(x->hint);
	kube_list_free(x->args);
	kube_list_free(x->env_names);
	kube_list_free(x->env_values);
	free(x);
}

void kube_config_free(struct kube_config *c)
{
	if (!c)
		return;
	free(c->context);
	free(c->cluster);
	free(c->user);
	free(c->namespace);
	kube_list_free(c->contexts);
	free(c->server);
	free(c->tls_server_name);
	free(c->proxy);
	blob_free(&c->ca);
	json_decref(c->cluster_extensions);
	json_decref(c->context_extensions);
	blob_free(&c->cert);
	blob_free(&c->key);
	secret_free(c->token);
	free(c->token_file);
	free(c->username);
	secret_free(c->password);
	free(c->as);
	free(c->as_uid);
	kube_list_free(c->as_groups);
	json_decref(c->as_extra);
	exec_free(c->exec);
	free(c);
}

static void free_config(struct kube_config **c)
{
	kube_config_free(*c);
}

/* --- entries by name ---------------------------------------------------------------------------------- */

/* Kinds of entries: the list that holds them, and the key of the entry's content. */
struct kind {
	const char *list, *key;
};

static const struct kind clusters = {"clusters", "cluster"};
static const struct kind users = {"users", "user"};
static const struct kind contexts = {"contexts", "context"};

/* The list of one kind in one file, or NULL. */
static int list_of(const struct kube_file *file, const struct kind *kind,
		   const struct conf_node **list, struct error *e)
{
	const struct conf_node *n = file->doc ? conf_get(conf_root(file->doc), kind->list) : NULL;

	*list = NULL;
	if (!n || conf_is_null(n))
		return 0;
	if (!conf_is_list(n))
		return conf_error(n, e, "'%s' must be a list", kind->list);
	if (conf_count(n) > KUBE_CONTEXTS_MAX)
		return conf_error(n, e, "more than %d %s", KUBE_CONTEXTS_MAX, kind->list);
	*list = n;
	return 0;
}

static int name_of(const struct conf_node *item, const struct kind *kind, const char **name,
		   struct error *e)
{
	const struct conf_node *n;

	if (!conf_is_map(item))
		return conf_error(item, e, "each of the %s must be a mapping with a name",
				  kind->list);
	n = conf_get(item, "name");
	*name = "";
	return n && !conf_is_null(n) ? conf_string(n, name, e) : 0;
}

/* The first file's entry of that name; *np NULL = none has it. */
static int find(const struct kube_files *f, const struct kind *kind, const char *name,
		const struct conf_node **np, const char **dir, struct error *e)
{
	*np = NULL;
	for (size_t i = 0; i < f->count && !*np; i++) {
		const struct conf_node *list;
		int r = list_of(&f->file[i], kind, &list, e);

		for (size_t k = 0; r == 0 && list && k < conf_count(list); k++) {
			const struct conf_node *item = conf_at(list, k);
			const char *found;

			r = name_of(item, kind, &found, e);
			if (r || strcmp(found, name))
				continue;
			if (*np)
				return conf_error(item, e,
						  "the %s '%s' is here for the second time",
						  kind->key, name);
			*np = conf_get(item, kind->key);
			if (!*np || conf_is_null(*np))
				return conf_error(item, e, "the %s '%s' has no content", kind->key,
						  name);
			if (!conf_is_map(*np))
				return conf_error(*np, e, "the %s '%s' must be a mapping",
						  kind->key, name);
			*dir = f->file[i].dir;
		}
		if (r)
			return r;
	}
	return 0;
}

/* All names of a kind, each once, NULL-ended; *out is the caller's on errors, too. */
static int names(const struct kube_files *f, const struct kind *kind, char ***out, struct error *e)
{
	char **all = calloc(KUBE_CONTEXTS_MAX + 1, sizeof(*all));
	size_t n = 0;
	int r = 0;

	if (!all)
		return error_errno(e, -ENOMEM, "kubeconfig");
	*out = all;
	for (size_t i = 0; r == 0 && i < f->count; i++) {
		const struct conf_node *list = NULL;

		r = list_of(&f->file[i], kind, &list, e);
		for (size_t k = 0; r == 0 && list && k < conf_count(list); k++) {
			const char *name = "";
			size_t j = 0;

			r = name_of(conf_at(list, k), kind, &name, e);
			while (r == 0 && j < n && strcmp(all[j], name))
				j++;
			if (r == 0 && j == n && n < KUBE_CONTEXTS_MAX && !(all[n++] = strdup(name)))
				r = error_errno(e, -ENOMEM, "kubeconfig");
		}
	}
	return r;
}

/* "; there are: a, b, c" for the sentence about a name that is not there. */
static const char *choices(char *const *all, char *buf, size_t room)
{
	size_t n = 0;

	*buf = '\0';
	for (; *all && n + 40 < room; all++)
		n += (size_t)snprintf(buf + n, room - n, "%s%.60s",
				      n ? ", " : "; there are: ", *all);
	if (*all)
		snprintf(buf + n, room - n, ", ...");
	return buf;
}

static int not_there(const struct kube_files *f, const struct kind *kind, const char *name,
		     const char *why, struct error *e)
{
	char **all = NULL, buf[512];
	int r = names(f, kind, &all, e);

	if (r == 0)
		r = error_set(e, -ENOENT, "the kubeconfig has no %s '%.100s'%s%s", kind->key, name,
			      why, choices(all, buf, sizeof(buf)));
	kube_list_free(all);
	return r;
}

/* --- the chosen context ------------------------------------------------------------------------------- */

static int set(char **s, const char *value)
{
	char *copy;

	if (!value || !*value)
		return 0;
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	free(*s);
	*s = copy;
	return 0;
}

static int current_context(struct kube_config *c, const struct kube_files *f,
			   const struct kube_flags *flags, struct error *e)
{
	int r = set(&c->context, flags->context);

	for (size_t i = 0; r == 0 && !c->context && i < f->count; i++) {
		if (f->file[i].doc)
			r = kube_take_string(conf_root(f->file[i].doc), "current-context",
					     &c->context, e);
	}
	return r;
}

static int choose_context(struct kube_config *c, const struct kube_files *f,
			  const struct kube_flags *flags, struct error *e)
{
	const struct conf_node *n;
	const char *dir;
	char buf[512];
	int r = current_context(c, f, flags, e);

	if (r)
		return r;
	if (!c->context) {
		if (flags->cluster || flags->server)
			return 0;
		return error_set(e, -ENOENT,
				 "the kubeconfig does not say which context to use: give --context "
				 "NAME, or choose one by `kubectl config use-context NAME`%s",
				 choices(c->contexts, buf, sizeof(buf)));
	}
	r = find(f, &contexts, c->context, &n, &dir, e);
	if (r == 0 && !n)
		r = not_there(f, &contexts, c->context, "", e);
	return r ? r : kube_entry_context(c, n, e);
}

static int choose_entries(struct kube_config *c, const struct kube_files *f, struct error *e)
{
	const struct conf_node *n = NULL;
	const char *dir;
	char why[160];
	int r = 0;

	snprintf(why, sizeof(why), c->context ? ", which the context '%.80s' names" : "%s",
		 c->context ? c->context : "");
	if (c->cluster) {
		r = find(f, &clusters, c->cluster, &n, &dir, e);
		if (r == 0 && !n)
			r = not_there(f, &clusters, c->cluster, why, e);
		if (r == 0)
			r = kube_entry_cluster(c, n, dir, e);
	}
	if (r == 0 && c->user) {
		r = find(f, &users, c->user, &n, &dir, e);
		if (r == 0 && !n)
			r = not_there(f, &users, c->user, why, e);
		if (r == 0)
			r = kube_entry_user(c, n, dir, e);
	}
	return r;
}

/* What the command line says goes over what the files say. */
static int override(struct kube_config *c, const struct kube_flags *flags, struct error *e)
{
	size_t n = 0;
	int r;

	if (flags->token && *flags->token) {
		free(c->token_file);
		c->token_file = NULL;
	}
	if (flags->insecure_skip_tls_verify) {
		c->insecure = true;
		blob_free(&c->ca);
		c->ca = (struct kube_blob){.data = NULL};
	}
	if (flags->certificate_authority && *flags->certificate_authority) {
		blob_free(&c->ca);
		c->ca = (struct kube_blob){.data = NULL};
		r = kube_read_blob(flags->certificate_authority, &c->ca, e);
		if (r)
			return r;
	}
	if (set(&c->server, flags->server) || set(&c->tls_server_name, flags->tls_server_name) ||
	    set(&c->token, flags->token) || set(&c->as, flags->as) ||
	    set(&c->as_uid, flags->as_uid))
		return error_errno(e, -ENOMEM, "kubeconfig");
	if (!flags->as_groups || !flags->as_groups[0])
		return 0;
	while (flags->as_groups[n])
		n++;
	kube_list_free(c->as_groups);
	c->as_groups = calloc(n + 1, sizeof(char *));
	for (size_t i = 0; i < n; i++) {
		if (!c->as_groups || !(c->as_groups[i] = strdup(flags->as_groups[i])))
			return error_errno(e, -ENOMEM, "kubeconfig");
	}
	return 0;
}

/* No entry of any kind. */
static int is_empty(const struct kube_files *f, bool *empty, struct error *e)
{
	static const struct kind *const kinds[] = {&clusters, &users, &contexts};

	*empty = true;
	for (size_t i = 0; i < f->count; i++) {
		for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
			const struct conf_node *list;
			int r = list_of(&f->file[i], kinds[k], &list, e);

			if (r)
				return r;
			*empty &= !list || !conf_count(list);
		}
	}
	return 0;
}

static int choose(struct kube_config *c, const struct kube_files *f, const struct kube_flags *flags,
		  struct error *e)
{
	bool empty;
	int r = is_empty(f, &empty, e);

	if (r == 0)
		r = names(f, &contexts, &c->contexts, e);
	if (r)
		return r;
	if (empty && !flags->server && !flags->context && !flags->cluster)
		r = kube_in_cluster(c, flags, e);
	else
		r = choose_context(c, f, flags, e);
	if (r == 0 && (set(&c->cluster, flags->cluster) || set(&c->user, flags->user) ||
		       set(&c->namespace, flags->namespace)))
		r = error_errno(e, -ENOMEM, "kubeconfig");
	if (r == 0 && !c->in_cluster)
		r = choose_entries(c, f, e);
	if (r == 0)
		r = override(c, flags, e);
	return r ? r : kube_config_check(c, e);
}

static int finish(struct kube_config **cp, const struct kube_files *f,
		  const struct kube_flags *flags, struct error *e)
{
	cleanup(free_config) struct kube_config *c = calloc(1, sizeof(*c));
	int r = c ? choose(c, f, flags, e) : -ENOMEM;

	if (r == -ENOMEM)
		return error_errno(e, r, "kubeconfig");
	if (r == 0)
		*cp = steal_ptr(c);
	return r;
}

int kube_one_line(struct error *e, int code)
{
	for (char *p = e ? e->text : (char[]){""}; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = ' ';
	}
	return code;
}

int kube_config_load(struct kube_config **cp, const struct kube_flags *flags, struct error *e)
{
	cleanup(kube_files_free) struct kube_files f = {.count = 0};
	int r = kube_files_find(&f, flags, e);

	r = r ? r : finish(cp, &f, flags, e);
	return r ? kube_one_line(e, r) : 0;
}

int kube_config_parse(struct kube_config **cp, const char *name, const char *text, size_t len,
		      const struct kube_flags *flags, struct error *e)
{
	cleanup(kube_files_free) struct kube_files f = {.count = 0};
	int r = kube_files_add(&f, name, text, len, e);

	r = r ? r : finish(cp, &f, flags, e);
	return r ? kube_one_line(e, r) : 0;
}

/* --- what the caller asks ----------------------------------------------------------------------------- */

static const char *or_empty(const char *s)
{
	return s ? s : "";
}

const char *kube_config_context(const struct kube_config *c)
{
	return or_empty(c->context);
}

const char *kube_config_cluster(const struct kube_config *c)
{
	return or_empty(c->cluster);
}

const char *kube_config_user(const struct kube_config *c)
{
	return or_empty(c->user);
}

const char *kube_config_namespace(const struct kube_config *c)
{
	return c->namespace ? c->namespace : "default";
}

const char *kube_config_server(const struct kube_config *c)
{
	return c->server;
}

const char *kube_config_context_at(const struct kube_config *c, size_t i)
{
	for (char **p = c->contexts; p && *p; p++) {
		if (i-- == 0)
			return *p;
	}
	return NULL;
}

const json_t *kube_config_extension(const struct kube_config *c, const char *name)
{
	return json_object_get(c->cluster_extensions, name);
}
