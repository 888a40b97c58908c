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

enum { NESTED_MAX = 8, LINE_MAX_ = 1024 };

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

/* Changes when the configuration does: FNV-1a of what stands in manager.yaml. */
static uint64_t config_hash(const struct deploy_values *v)
{
	const char *const parts[] = {v->agent_image,	v->pull_policy,	    v->udp_service,
				     v->holder_timeout, v->session_timeout, v->prefixes,
				     v->service_prefix, v->ca_cert,	    v->overlay_key};
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		for (const char *s = parts[i] ? parts[i] : ""; *s; s++)
			h = (h ^ (uint8_t)*s) * 0x100000001b3;
		h *= 0x100000001b3;
	}
	return h;
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
		{"pullPolicy", or_default(v->pull_policy, "IfNotPresent")},
		{"udpService", udp ? or_default(v->udp_service, "NodePort") : ""},
		{"holderTimeout", or_default(v->holder_timeout, "10m")},
		{"sessionTimeout", or_default(v->session_timeout, "24h")},
		{"prefixes", v->prefixes},
		{"servicePrefix", v->service_prefix},
		{"overlayKey", v->overlay_key ? v->overlay_key : ""},
		{"caCert", v->ca_cert ? v->ca_cert : ""},
		{"caKey", v->ca_key ? v->ca_key : ""},
	};

	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		if (!strcmp(values[i].name, name))
			return values[i].value;
	*buf = '\0';
	if (!strcmp(name, "configHash"))
		snprintf(buf, size, "%016llx", (unsigned long long)config_hash(v));
	else if (!strcmp(name, "udpNodePort") && v->udp_node_port)
		snprintf(buf, size, "%u", v->udp_node_port);
	else if (!strcmp(name, "groups") && v->ngroups)
		snprintf(buf, size, "%u", v->ngroups);
	else if (strcmp(name, "udpNodePort") != 0 && strcmp(name, "groups") != 0)
		return NULL;
	return buf;
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
	char buf[32];

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
	char buf[32];

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
