/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manifests' little language: ${name} in a line, and lines of their own:
 *	#if name, #else, #end	when the value is not empty
 *	#each groups, #end	once per group, which is ${group}
 * deploy/chart/make turns the same into Helm's.
 */
#include <errno.h>
#include <stdio.h>

#include "deploy/internal.h"

enum { NESTED_MAX = 8, LINE_MAX_ = 1024, MADE_MAX = DEPLOY_ALLOW * 512 };

/* One #if or #each that is open. */
struct block {
	bool each, active; /* active: the lines of this part count */
	const char *body;  /* of #each: where it begins, and how often it was done */
	unsigned turn;
};

struct filler {
	const struct deploy_values *v;
	FILE *out;
	struct error *e;
	struct block block[NESTED_MAX];
	unsigned depth;
};

static const char *or_default(const char *text, const char *otherwise)
{
	return *text ? text : otherwise;
}

/* FNV-1a. */
static void add_hash(uint64_t *h, const char *const *parts, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (const char *s = parts[i] ? parts[i] : ""; *s; s++)
			*h = (*h ^ (uint8_t)*s) * 0x100000001b3;
		*h *= 0x100000001b3;
	}
}

/* What manager.yaml and gateway.yaml have in common. */
static uint64_t common_hash(const struct deploy_values *v)
{
	const char *const parts[] = {v->oidc_issuer,   v->oidc_client_id, v->oidc_scopes,
				     v->oidc_ca,       v->preview_host,	  v->preview_domain,
				     v->dashboard_host};
	uint64_t h = 0xcbf29ce484222325;

	add_hash(&h, parts, ARRAY_SIZE(parts));
	for (unsigned i = 0; i < v->nallow; i++) {
		const char *const claim[] = {v->allow[i]};

		add_hash(&h, claim, 1);
	}
	return h;
}

/* Changes when the configuration does: what stands in manager.yaml. */
static uint64_t config_hash(const struct deploy_values *v)
{
	const char *const parts[] = {v->agent_image,	v->pull_policy,	    v->udp_service,
				     v->holder_timeout, v->session_timeout, v->prefixes,
				     v->service_prefix, v->ca_cert,	    v->overlay_key};
	uint64_t h = common_hash(v);

	add_hash(&h, parts, ARRAY_SIZE(parts));
	return h;
}

static uint64_t gateway_hash(const struct deploy_values *v)
{
	const char *const parts[] = {v->ca_cert,     v->cookie_key, v->gateway_cert,
				     v->oidc_secret, v->ingress_ca, v->preview_tls_secret};
	uint64_t h = common_hash(v);

	add_hash(&h, parts, ARRAY_SIZE(parts));
	return h;
}

bool deploy_has_gateway(const struct deploy_values *v)
{
	return *v->preview_domain || *v->preview_host;
}

/* The dashboard's host where previews have paths: it must not be of one origin with them. */
static void dashboard_host(const struct deploy_values *v, char *buf, size_t size)
{
	int name = (int)strcspn(v->preview_host, ":");

	*buf = '\0';
	if (*v->dashboard_host)
		snprintf(buf, size, "%s", v->dashboard_host);
	else if (*v->preview_host)
		snprintf(buf, size, "%.*s:%u", name, v->preview_host,
			 v->dashboard_node_port ? v->dashboard_node_port : 8444);
}

const char *const *deploy_gateway_names(const struct deploy_values *v)
{
	static char first[264], second[264];
	static const char *names[3];
	char dashboard[264];

	memset(names, 0, sizeof(names));
	names[0] = first;
	if (*v->preview_domain) {
		snprintf(first, sizeof(first), "%.*s", (int)strcspn(v->preview_domain, ":"),
			 v->preview_domain);
		snprintf(second, sizeof(second), "*.%.*s", 255, first);
		names[1] = second;
		return names;
	}
	dashboard_host(v, dashboard, sizeof(dashboard));
	snprintf(first, sizeof(first), "%.*s", (int)strcspn(v->preview_host, ":"), v->preview_host);
	snprintf(second, sizeof(second), "%.*s", (int)strcspn(dashboard, ":"), dashboard);
	if (strcmp(first, second) != 0)
		names[1] = second;
	return names;
}

static void allow_list(const struct deploy_values *v, char *buf, size_t size)
{
	json_t *list = json_array();
	size_t n;

	for (unsigned i = 0; i < v->nallow; i++)
		json_array_append_new(list, json_string(v->allow[i]));
	n = json_dumpb(list, buf, size - 1, JSON_ENSURE_ASCII);
	buf[n < size ? n : 0] = '\0';
	json_decref(list);
}

static void gateway_names(const struct deploy_values *v, char *buf, size_t size)
{
	const char *const *names = deploy_gateway_names(v);

	snprintf(buf, size, "%s%s%s", names[0], names[1] ? "," : "", names[1] ? names[1] : "");
}

static void put_port(unsigned port, char *buf, size_t size)
{
	if (port)
		snprintf(buf, size, "%u", port);
}

/* Values that are made: false = there is none of that name. */
static bool make_value(const struct deploy_values *v, const char *name, char *buf, size_t size)
{
	*buf = '\0';
	if (!strcmp(name, "configHash"))
		snprintf(buf, size, "%016llx", (unsigned long long)config_hash(v));
	else if (!strcmp(name, "gatewayHash"))
		snprintf(buf, size, "%016llx", (unsigned long long)gateway_hash(v));
	else if (!strcmp(name, "dashboardHost"))
		dashboard_host(v, buf, size);
	else if (!strcmp(name, "gatewayNames"))
		gateway_names(v, buf, size);
	else if (!strcmp(name, "oidcAllow"))
		allow_list(v, buf, size);
	else if (!strcmp(name, "udpNodePort"))
		put_port(v->udp_node_port, buf, size);
	else if (!strcmp(name, "gatewayNodePort"))
		put_port(v->gateway_node_port, buf, size);
	else if (!strcmp(name, "dashboardNodePort"))
		put_port(v->dashboard_node_port, buf, size);
	else if (!strcmp(name, "groups"))
		put_port(v->ngroups, buf, size);
	else
		return false;
	return true;
}

static const char *or_none(const char *text)
{
	return text ? text : "";
}

/* The value called `name`, or NULL. `buf` is for those that are made. */
static const char *value_of(const struct deploy_values *v, const char *name, char *buf, size_t size)
{
	const bool udp = strcmp(v->udp_service, "None") != 0;
	const struct {
		const char *name, *value;
	} values[] = {
		{"ns", or_default(v->ns, "culvert")},
		{"managerImage", or_default(v->manager_image, "culvert/manager:" CULVERT_VERSION)},
		{"agentImage", or_default(v->agent_image, "culvert/agent:" CULVERT_VERSION)},
		{"gatewayImage", or_default(v->gateway_image, "culvert/gateway:" CULVERT_VERSION)},
		{"pullPolicy", or_default(v->pull_policy, "IfNotPresent")},
		{"udpService", udp ? or_default(v->udp_service, "NodePort") : ""},
		{"holderTimeout", or_default(v->holder_timeout, "10m")},
		{"sessionTimeout", or_default(v->session_timeout, "24h")},
		{"prefixes", v->prefixes},
		{"servicePrefix", v->service_prefix},
		{"overlayKey", or_none(v->overlay_key)},
		{"caCert", or_none(v->ca_cert)},
		{"caKey", or_none(v->ca_key)},
		{"oidcIssuer", v->oidc_issuer},
		{"oidcClientId", v->oidc_client_id},
		{"oidcScopes", v->oidc_scopes},
		{"oidcCa", or_none(v->oidc_ca)},
		{"oidcSecret", or_none(v->oidc_secret)},
		{"gateway", deploy_has_gateway(v) ? "true" : ""},
		{"previewDomain", v->preview_domain},
		{"previewHost", v->preview_host},
		{"previewTlsSecret", v->preview_tls_secret},
		{"gatewayService", or_default(v->gateway_service, "LoadBalancer")},
		{"ingressCa", or_none(v->ingress_ca)},
		{"cookieKey", or_none(v->cookie_key)},
		{"gatewayCert", or_none(v->gateway_cert)},
		{"gatewayKey", or_none(v->gateway_key)},
	};

	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		if (!strcmp(values[i].name, name))
			return values[i].value;
	return make_value(v, name, buf, size) ? buf : NULL;
}

static bool is_active(const struct filler *f)
{
	for (unsigned i = 0; i < f->depth; i++)
		if (!f->block[i].active)
			return false;
	return true;
}

/* The group of the innermost #each, as JSON has it, which YAML reads, too. */
static int put_group(struct filler *f)
{
	cleanup(free_ptr) char *text = NULL;
	json_t *j;

	for (unsigned i = f->depth; i--;) {
		if (!f->block[i].each)
			continue;
		j = json_string(f->v->group[f->block[i].turn]);
		text = json_dumps(j, JSON_ENCODE_ANY);
		json_decref(j);
		if (!text)
			return error_errno(f->e, -ENOMEM, "manifests");
		fputs(text, f->out);
		return 0;
	}
	return error_set(f->e, -EINVAL, "manifests: ${group} stands outside of #each");
}

static int put_value(struct filler *f, const char *name)
{
	const char *value;
	char buf[MADE_MAX];

	if (!strcmp(name, "group"))
		return put_group(f);
	value = value_of(f->v, name, buf, sizeof(buf));
	if (!value)
		return error_set(f->e, -EINVAL, "manifests: there is no value '%s'", name);
	fputs(value, f->out);
	return 0;
}

static int put_line(struct filler *f, const char *line)
{
	const char *mark, *end;
	char name[32];
	int err = 0;

	while (!err && (mark = strstr(line, "${")) && (end = strchr(mark, '}'))) {
		fprintf(f->out, "%.*s", (int)(mark - line), line);
		snprintf(name, sizeof(name), "%.*s", (int)(end - mark - 2), mark + 2);
		err = put_value(f, name);
		line = end + 1;
	}
	fprintf(f->out, "%s\n", line);
	return err;
}

static int open_block(struct filler *f, const char *line, const char *body)
{
	struct block b = {.each = line[1] == 'e', .body = body};
	const char *name = strchr(line, ' ') + 1, *value;
	char buf[MADE_MAX];

	value = value_of(f->v, name, buf, sizeof(buf));
	if (!value || f->depth == NESTED_MAX)
		return error_set(f->e, -EINVAL, "manifests: %s", line);
	b.active = *value != '\0';
	f->block[f->depth++] = b;
	return 0;
}

/* Takes a line of the language: 1 = it was one, 0 = it is text. May set *next back, to do a body again. */
static int directive(struct filler *f, const char *line, const char **next)
{
	struct block *b = f->depth ? &f->block[f->depth - 1] : NULL;
	int err;

	if (!strncmp(line, "#if ", 4) || !strncmp(line, "#each ", 6)) {
		err = open_block(f, line, *next);
		return err ? err : 1;
	}
	if (strcmp(line, "#else") != 0 && strcmp(line, "#end") != 0)
		return 0;
	if (!b)
		return error_set(f->e, -EINVAL, "manifests: %s without its beginning", line);
	if (line[2] == 'l') {
		b->active = !b->active;
	} else if (b->each && b->active && b->turn + 1 < f->v->ngroups) {
		b->turn++;
		*next = b->body;
	} else {
		f->depth--;
	}
	return 1;
}

static int fill(struct filler *f, const char *text, const char *end)
{
	char line[LINE_MAX_];
	const char *next;
	int err = 0;

	while (text < end && err >= 0) {
		const char *nl = memchr(text, '\n', (size_t)(end - text));
		size_t len = (size_t)((nl ? nl : end) - text);

		if (len >= sizeof(line))
			return error_set(f->e, -EINVAL, "manifests: a line is too long");
		memcpy(line, text, len);
		line[len] = '\0';
		next = text + len + 1;
		err = directive(f, line, &next);
		if (err == 0 && is_active(f))
			err = put_line(f, line);
		text = next;
	}
	if (err >= 0 && f->depth)
		return error_set(f->e, -EINVAL, "manifests: an #end is missing");
	return MIN(err, 0);
}

int deploy_fill(const struct deploy_values *v, const char *text, size_t len, char **out,
		struct error *e)
{
	struct filler f = {.v = v, .e = e};
	char *made = NULL;
	size_t size;
	int err;

	f.out = open_memstream(&made, &size);
	if (!f.out)
		return error_errno(e, -ENOMEM, "manifests");
	err = fill(&f, text, text + len);
	if ((ferror(f.out) | fclose(f.out)) && !err)
		err = error_errno(e, -ENOMEM, "manifests");
	if (err)
		free(made);
	else
		*out = made;
	return err;
}
