/* SPDX-License-Identifier: Apache-2.0 */
/* The chosen context as `kubectl config view --flatten --minify -o json` shows it. */
#include "kube/config.h"

static void put(json_t *o, const char *key, const char *value)
{
	if (value)
		json_object_set_new(o, key, json_string(value));
}

static void put_true(json_t *o, const char *key, bool value)
{
	if (value)
		json_object_set_new(o, key, json_true());
}

static void put_blob(json_t *o, const char *key, const struct kube_blob *b)
{
	cleanup(free_ptr) char *text = b->data ? base64_encode(b->data, b->len) : NULL;

	put(o, key, text);
}

static json_t *list_json(char *const *list)
{
	json_t *out = json_array();

	for (; list && *list; list++)
		json_array_append_new(out, json_string(*list));
	return out;
}

static void put_extensions(json_t *o, json_t *extensions)
{
	const char *name;
	json_t *value, *list = json_array();

	json_object_foreach(extensions, name, value)
	{
		json_array_append_new(list,
				      json_pack("{s:s, s:O}", "name", name, "extension", value));
	}
	if (json_array_size(list))
		json_object_set(o, "extensions", list);
	json_decref(list);
}

static json_t *cluster_view(const struct kube_config *c)
{
	json_t *o = json_object();

	put(o, "server", c->server);
	put(o, "tls-server-name", c->tls_server_name);
	put_true(o, "insecure-skip-tls-verify", c->insecure);
	put_blob(o, "certificate-authority-data", &c->ca);
	put(o, "proxy-url", c->proxy);
	put_true(o, "disable-compression", c->disable_compression);
	put_extensions(o, c->cluster_extensions);
	return o;
}

static json_t *exec_view(const struct kube_exec *x)
{
	static const char *const modes[] = {"Never", "IfAvailable", "Always"};
	json_t *o = json_object(), *env = x->env_names ? json_array() : json_null();

	put(o, "command", x->command);
	put(o, "apiVersion", x->api);
	put(o, "installHint", x->hint);
	json_object_set_new(o, "args", x->args ? list_json(x->args) : json_null());
	for (size_t i = 0; x->env_names && x->env_names[i]; i++)
		json_array_append_new(env, json_pack("{s:s, s:s}", "name", x->env_names[i], "value",
						     x->env_values[i]));
	json_object_set_new(o, "env", env);
	json_object_set_new(o, "provideClusterInfo", json_boolean(x->cluster_info));
	put(o, "interactiveMode", modes[x->interactive]);
	return o;
}

static json_t *user_view(const struct kube_config *c)
{
	json_t *o = json_object();

	put_blob(o, "client-certificate-data", &c->cert);
	put_blob(o, "client-key-data", &c->key);
	put(o, "token", c->token);
	put(o, "tokenFile", c->token_file);
	put(o, "as", c->as);
	put(o, "as-uid", c->as_uid);
	if (c->as_groups && c->as_groups[0])
		json_object_set_new(o, "as-groups", list_json(c->as_groups));
	if (c->as_extra)
		json_object_set(o, "as-user-extra", c->as_extra);
	put(o, "username", c->username);
	put(o, "password", c->password);
	if (c->exec)
		json_object_set_new(o, "exec", exec_view(c->exec));
	return o;
}

static json_t *context_view(const struct kube_config *c)
{
	json_t *o = json_object();

	put(o, "cluster", kube_config_cluster(c));
	put(o, "user", kube_config_user(c));
	put(o, "namespace", c->namespace);
	put_extensions(o, c->context_extensions);
	return o;
}

/* [{"name": name, key: entry}] */
static json_t *named(const char *name, const char *key, json_t *entry)
{
	return json_pack("[{s:s, s:o}]", "name", name ? name : "", key, entry);
}

json_t *kube_config_view(const struct kube_config *c)
{
	return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o}", "apiVersion", "v1", "kind", "Config",
			 "current-context", kube_config_context(c), "clusters",
			 named(c->cluster, "cluster", cluster_view(c)), "users",
			 c->user ? named(c->user, "user", user_view(c)) : json_null(), "contexts",
			 named(c->context, "context", context_view(c)));
}
