/* SPDX-License-Identifier: Apache-2.0 */
/* The content of one cluster, user and context entry, and the pod's service account. */
#include <errno.h>
#include <stdio.h>

#include "base/file.h"
#include "kube/config.h"

/* --- values ------------------------------------------------------------------------------------------- */

int kube_take_string(const struct conf_node *map, const char *key, char **s, struct error *e)
{
	const struct conf_node *n = conf_get(map, key);
	const char *text;
	int r;

	if (!n || conf_is_null(n))
		return 0;
	r = conf_string(n, &text, e);
	if (r)
		return r;
	if (!*text)
		return 0;
	free(*s);
	*s = strdup(text);
	return *s ? 0 : error_errno(e, -ENOMEM, "kubeconfig");
}

static int take_bool(const struct conf_node *map, const char *key, bool *v, struct error *e)
{
	const struct conf_node *n = conf_get(map, key);

	return n && !conf_is_null(n) ? conf_bool(n, v, e) : 0;
}

int kube_take_list(const struct conf_node *map, const char *key, char ***list, struct error *e)
{
	const struct conf_node *n = conf_get(map, key);
	char **out;

	if (!n || conf_is_null(n))
		return 0;
	if (!conf_is_list(n) || conf_count(n) > KUBE_LIST_MAX)
		return conf_error(n, e, "'%s' must be a list of at most %d texts", key,
				  KUBE_LIST_MAX);
	kube_list_free(*list);
	*list = out = calloc(conf_count(n) + 1, sizeof(char *));
	for (size_t i = 0; out && i < conf_count(n); i++) {
		const char *text;
		int r = conf_string(conf_at(n, i), &text, e);

		if (r)
			return r;
		if (!(out[i] = strdup(text)))
			return error_errno(e, -ENOMEM, "kubeconfig");
	}
	return out ? 0 : error_errno(e, -ENOMEM, "kubeconfig");
}

int kube_read_blob(const char *path, struct kube_blob *b, struct error *e)
{
	return file_read(path, KUBE_FILE_MAX, &b->data, &b->len, e);
}

/* KEY-data (base64) if it is there, else the file that KEY names. */
static int take_blob(const struct conf_node *map, const char *key, const char *dir,
		     struct kube_blob *b, struct error *e)
{
	cleanup(free_ptr) char *text = NULL;
	cleanup(free_ptr) char *path = NULL;
	cleanup(free_ptr) char *whole = NULL;
	char data_key[64];
	int r;

	snprintf(data_key, sizeof(data_key), "%s-data", key);
	r = kube_take_string(map, data_key, &text, e);
	if (r == 0)
		r = kube_take_string(map, key, &path, e);
	if (r)
		return r;
	if (text) {
		r = base64_decode(text, &b->data, &b->len);
		return r ? conf_error(conf_get(map, data_key), e, "'%s' is no base64", data_key)
			 : 0;
	}
	if (!path)
		return 0;
	whole = kube_path_join(dir, path);
	if (!whole)
		return error_errno(e, -ENOMEM, "kubeconfig");
	if (kube_read_blob(whole, b, e)) {
		struct error cause = *e;

		return conf_error(conf_get(map, key), e, "%s", cause.text);
	}
	return 0;
}

/* [{name, extension}] as an object by name. */
static int take_extensions(const struct conf_node *map, json_t **out, struct error *e)
{
	const struct conf_node *n = conf_get(map, "extensions");

	if (!n || conf_is_null(n))
		return 0;
	if (!conf_is_list(n))
		return conf_error(n, e, "'extensions' must be a list");
	*out = json_object();
	for (size_t i = 0; i < conf_count(n); i++) {
		const struct conf_node *item = conf_at(n, i), *value = conf_get(item, "extension");
		cleanup(free_ptr) char *name = NULL;
		int r = conf_is_map(item)
				? kube_take_string(item, "name", &name, e)
				: conf_error(item, e, "an extension must be a mapping with a name");

		if (r)
			return r;
		if (name && value)
			json_object_set_new(*out, name, conf_json(value));
	}
	return 0;
}

/* --- entries ------------------------------------------------------------------------------------------ */

int kube_entry_cluster(struct kube_config *c, const struct conf_node *n, const char *dir,
		       struct error *e)
{
	int r = kube_take_string(n, "server", &c->server, e);

	if (r == 0)
		r = kube_take_string(n, "tls-server-name", &c->tls_server_name, e);
	if (r == 0)
		r = kube_take_string(n, "proxy-url", &c->proxy, e);
	if (r == 0)
		r = take_bool(n, "insecure-skip-tls-verify", &c->insecure, e);
	if (r == 0)
		r = take_bool(n, "disable-compression", &c->disable_compression, e);
	if (r == 0)
		r = take_blob(n, "certificate-authority", dir, &c->ca, e);
	if (r == 0)
		r = take_extensions(n, &c->cluster_extensions, e);
	if (r)
		return r;
	if (!c->server)
		return conf_error(n, e, "the cluster '%.100s' has no server", c->cluster);
	if (c->insecure && c->ca.data)
		return conf_error(n, e,
				  "the cluster '%.100s' has both insecure-skip-tls-verify and a "
				  "certificate authority: remove one",
				  c->cluster);
	if (c->proxy && strncmp(c->proxy, "http://", 7) && strncmp(c->proxy, "https://", 8) &&
	    strncmp(c->proxy, "socks5://", 9) && strncmp(c->proxy, "socks5h://", 10))
		return conf_error(conf_get(n, "proxy-url"), e,
				  "a proxy must begin with http://, https:// or socks5://, found "
				  "'%.100s'",
				  c->proxy);
	return 0;
}

int kube_entry_context(struct kube_config *c, const struct conf_node *n, struct error *e)
{
	int r = kube_take_string(n, "cluster", &c->cluster, e);

	if (r == 0)
		r = kube_take_string(n, "user", &c->user, e);
	if (r == 0)
		r = kube_take_string(n, "namespace", &c->namespace, e);
	return r ? r : take_extensions(n, &c->context_extensions, e);
}

static int take_env(struct kube_exec *x, const struct conf_node *n, struct error *e)
{
	const struct conf_node *list = conf_get(n, "env");
	size_t count;

	if (!list || conf_is_null(list))
		return 0;
	if (!conf_is_list(list) || conf_count(list) > KUBE_LIST_MAX)
		return conf_error(list, e, "'env' must be a list of at most %d items",
				  KUBE_LIST_MAX);
	count = conf_count(list);
	x->env_names = calloc(count + 1, sizeof(char *));
	x->env_values = calloc(count + 1, sizeof(char *));
	if (!x->env_names || !x->env_values)
		return error_errno(e, -ENOMEM, "kubeconfig");
	for (size_t i = 0; i < count; i++) {
		const struct conf_node *item = conf_at(list, i);
		int r = kube_take_string(item, "name", &x->env_names[i], e);

		if (r == 0)
			r = kube_take_string(item, "value", &x->env_values[i], e);
		if (r)
			return r;
		if (!x->env_names[i] || strchr(x->env_names[i], '='))
			return conf_error(item, e, "an item of 'env' needs a name (without '=')");
		if (!x->env_values[i] && !(x->env_values[i] = strdup("")))
			return error_errno(e, -ENOMEM, "kubeconfig");
	}
	return 0;
}

static int take_interactive(struct kube_exec *x, const struct conf_node *n, struct error *e)
{
	static const char *const modes[] = {
		[KUBE_EXEC_NEVER] = "Never",
		[KUBE_EXEC_IF_AVAILABLE] = "IfAvailable",
		[KUBE_EXEC_ALWAYS] = "Always",
	};
	cleanup(free_ptr) char *mode = NULL;
	int r = kube_take_string(n, "interactiveMode", &mode, e);

	if (r)
		return r;
	x->interactive = KUBE_EXEC_IF_AVAILABLE;
	for (unsigned i = 0; mode && i < ARRAY_SIZE(modes); i++) {
		if (!strcmp(mode, modes[i])) {
			x->interactive = i;
			x->interactive_said = true;
		}
	}
	if (mode && !x->interactive_said)
		return conf_error(conf_get(n, "interactiveMode"), e,
				  "interactiveMode is Never, IfAvailable or Always, not '%.60s'",
				  mode);
	if (!mode && !strcmp(x->api, "client.authentication.k8s.io/v1"))
		return conf_error(n, e,
				  "the exec plugin needs interactiveMode: Never, IfAvailable "
				  "or Always");
	return 0;
}

static int take_exec(struct kube_config *c, const struct conf_node *n, const char *dir,
		     struct error *e)
{
	struct kube_exec *x = c->exec = calloc(1, sizeof(*x));
	char *whole;
	int r;

	if (!x)
		return error_errno(e, -ENOMEM, "kubeconfig");
	if (!conf_is_map(n))
		return conf_error(n, e, "'exec' must be a mapping");
	r = kube_take_string(n, "command", &x->command, e);
	if (r == 0)
		r = kube_take_string(n, "apiVersion", &x->api, e);
	if (r == 0)
		r = kube_take_string(n, "installHint", &x->hint, e);
	if (r == 0)
		r = take_bool(n, "provideClusterInfo", &x->cluster_info, e);
	if (r == 0)
		r = kube_take_list(n, "args", &x->args, e);
	if (r == 0)
		r = take_env(x, n, e);
	if (r)
		return r;
	if (!x->command)
		return conf_error(n, e, "the exec plugin of user '%.100s' has no command", c->user);
	if (!x->api || (strcmp(x->api, "client.authentication.k8s.io/v1") &&
			strcmp(x->api, "client.authentication.k8s.io/v1beta1")))
		return conf_error(conf_get(n, "apiVersion") ? conf_get(n, "apiVersion") : n, e,
				  "the exec plugin's apiVersion must be "
				  "client.authentication.k8s.io/v1 or /v1beta1, not '%.80s'",
				  x->api ? x->api : "");
	if (strchr(x->command, '/')) {
		whole = kube_path_join(dir, x->command);
		if (!whole)
			return error_errno(e, -ENOMEM, "kubeconfig");
		free(x->command);
		x->command = whole;
	}
	return take_interactive(x, n, e);
}

static int take_extra(struct kube_config *c, const struct conf_node *n, struct error *e)
{
	if (!conf_is_map(n))
		return conf_error(n, e, "'as-user-extra' must be a mapping of lists");
	for (size_t i = 0; i < conf_count(n); i++) {
		char **list = NULL;
		int r = kube_take_list(n, conf_key_at(n, i), &list, e);

		kube_list_free(list);
		if (r)
			return r;
	}
	c->as_extra = conf_json(n);
	return c->as_extra ? 0 : error_errno(e, -ENOMEM, "kubeconfig");
}

static int take_credentials(struct kube_config *c, const struct conf_node *n, const char *dir,
			    struct error *e)
{
	int r = take_blob(n, "client-certificate", dir, &c->cert, e);

	if (r == 0)
		r = take_blob(n, "client-key", dir, &c->key, e);
	if (r == 0)
		r = kube_take_string(n, "token", &c->token, e);
	if (r == 0)
		r = kube_take_string(n, "tokenFile", &c->token_file, e);
	if (r == 0)
		r = kube_take_string(n, "username", &c->username, e);
	if (r == 0)
		r = kube_take_string(n, "password", &c->password, e);
	if (r == 0 && c->token_file) {
		char *whole = kube_path_join(dir, c->token_file);

		free(c->token_file);
		c->token_file = whole;
		r = whole ? 0 : error_errno(e, -ENOMEM, "kubeconfig");
	}
	return r;
}

int kube_entry_user(struct kube_config *c, const struct conf_node *n, const char *dir,
		    struct error *e)
{
	const struct conf_node *exec = conf_get(n, "exec"), *extra = conf_get(n, "as-user-extra"),
			       *legacy = conf_get(n, "auth-provider");
	int r;

	if (legacy && !conf_is_null(legacy))
		return conf_error(legacy, e,
				  "the user '%.100s' has an auth-provider, which Kubernetes 1.26 "
				  "removed: use its exec plugin (such as gke-gcloud-auth-plugin, "
				  "kubelogin)",
				  c->user);
	r = take_credentials(c, n, dir, e);
	if (r == 0)
		r = kube_take_string(n, "as", &c->as, e);
	if (r == 0)
		r = kube_take_string(n, "as-uid", &c->as_uid, e);
	if (r == 0)
		r = kube_take_list(n, "as-groups", &c->as_groups, e);
	if (r == 0 && extra && !conf_is_null(extra))
		r = take_extra(c, extra, e);
	if (r == 0 && exec && !conf_is_null(exec))
		r = take_exec(c, exec, dir, e);
	if (r)
		return r;
	if (c->cert.data && !c->key.data)
		return conf_error(n, e,
				  "the user '%.100s' has a client-certificate but no client-key",
				  c->user);
	if ((c->token || c->token_file) && c->username)
		return conf_error(n, e, "the user '%.100s' has a token and a username: keep one",
				  c->user);
	return 0;
}

/* --- in a pod ----------------------------------------------------------------------------------------- */

static void trim(char *s)
{
	size_t len = strlen(s);

	while (len && strchr(" \t\r\n", s[len - 1]))
		s[--len] = '\0';
}

int kube_in_cluster(struct kube_config *c, const struct kube_flags *flags, struct error *e)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST");
	const char *port = getenv("KUBERNETES_SERVICE_PORT"), *ns = getenv("POD_NAMESPACE");
	const char *dir = flags->service_account ? flags->service_account
						 : "/var/run/secrets/kubernetes.io/serviceaccount";
	cleanup(free_ptr) char *token = kube_path_join(dir, "token");
	cleanup(free_ptr) char *ca = kube_path_join(dir, "ca.crt");
	cleanup(free_ptr) char *ns_file = kube_path_join(dir, "namespace");
	struct kube_blob ns_text = {.data = NULL};

	if (!token || !ca || !ns_file)
		return -ENOMEM;
	if (!host || !*host || !port || !*port || access(token, R_OK))
		return error_set(e, -ENOENT,
				 "there is no kubeconfig: give --kubeconfig FILE, set $KUBECONFIG, "
				 "or put one at ~/.kube/config");
	if (asprintf(&c->server, strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s", host,
		     port) < 0) {
		c->server = NULL;
		return -ENOMEM;
	}
	c->in_cluster = true;
	c->token_file = steal_ptr(token);
	if (ns && *ns) {
		c->namespace = strdup(ns);
	} else if (kube_read_blob(ns_file, &ns_text, NULL) == 0) {
		trim(ns_text.data);
		c->namespace = ns_text.data;
	}
	/* Without it the system's authorities count, as client-go has it. */
	if (access(ca, F_OK) == 0)
		return kube_read_blob(ca, &c->ca, e);
	return 0;
}

/* --- the whole ---------------------------------------------------------------------------------------- */

/* "host:port" is a server, too: https when anything speaks of TLS. */
static int add_scheme(struct kube_config *c)
{
	bool tls = c->ca.data || c->cert.data || c->insecure;
	char *url;

	if (strstr(c->server, "://"))
		return 0;
	if (asprintf(&url, "%s://%s", tls ? "https" : "http", c->server) < 0)
		return -ENOMEM;
	free(c->server);
	c->server = url;
	return 0;
}

static bool has_break(const char *s)
{
	return s && strpbrk(s, "\r\n");
}

/* Each of these becomes a line of the request. */
static bool breaks_headers(const struct kube_config *c)
{
	const char *key;
	json_t *values, *value;
	bool bad = has_break(c->as) || has_break(c->as_uid) || has_break(c->token);
	size_t i;

	for (char **g = c->as_groups; g && *g; g++)
		bad |= has_break(*g);
	json_object_foreach(c->as_extra, key, values)
	{
		json_array_foreach(values, i, value) bad |= has_break(json_string_value(value));
	}
	return bad;
}

int kube_config_check(struct kube_config *c, struct error *e)
{
	size_t len;

	if (!c->server)
		return error_set(e, -ENOENT,
				 c->context ? "the context '%.100s' names no cluster"
					    : "no cluster is chosen%s",
				 c->context ? c->context : "");
	if (add_scheme(c))
		return -ENOMEM;
	if (strncmp(c->server, "https://", 8) && strncmp(c->server, "http://", 7))
		return error_set(e, -EINVAL,
				 "the server of cluster '%.100s' must begin with https:// or "
				 "http://, found '%.200s'",
				 kube_config_cluster(c), c->server);
	for (len = strlen(c->server); c->server[len - 1] == '/' && len > 9; len--)
		c->server[len - 1] = '\0';
	if (strpbrk(c->server, " \t\r\n?#"))
		return error_set(e, -EINVAL, "the server '%.200s' is no URL of a server",
				 c->server);
	if (!c->as && (c->as_uid || (c->as_groups && c->as_groups[0]) || c->as_extra))
		return error_set(e, -EINVAL,
				 "a group, uid or extra to act as is given without a user to act "
				 "as (--as)");
	if (breaks_headers(c))
		return error_set(e, -EINVAL,
				 "the token, or whom to act as, has a line break in it");
	return 0;
}
