/* SPDX-License-Identifier: Apache-2.0 */
/* Names of objects and the lists of choices in error sentences. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "intercept/internal.h"

bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool text_is_plain(const char *s)
{
	json_t *utf8 = json_string(s); /* refuses all else */
	bool plain = utf8 != NULL;

	json_decref(utf8);
	for (; plain && *s; s++)
		plain = (unsigned char)*s >= ' ' && *s != 0x7f;
	return plain;
}

bool object_name_valid(const char *name, size_t max)
{
	size_t len = strnlen(name, max + 1);

	if (len == 0 || len > max || !is_alnum(name[0]) || !is_alnum(name[len - 1]))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!is_alnum(name[i]) && !strchr("._-", name[i]))
			return false;
	}
	return true;
}

bool port_id_valid(const char *id)
{
	const char *slash = strchr(id, '/');
	char name[K8S_NAME_MAX + 1];

	if (slash && strcmp(slash, "/tcp") && strcmp(slash, "/udp"))
		return false;
	snprintf(name, sizeof(name), "%.*s", (int)(slash ? slash - id : K8S_NAME_MAX), id);
	return strlen(id) <= K8S_NAME_MAX && object_name_valid(name, K8S_NAME_MAX);
}

void text_add(struct text *t, const char *fmt, ...)
{
	char item[160];
	va_list ap;
	size_t len;

	va_start(ap, fmt);
	vsnprintf(item, sizeof(item), fmt, ap);
	va_end(ap);
	len = strlen(item);
	if (t->len + len + sizeof(", ...") > sizeof(t->s)) {
		if (t->len && t->s[t->len - 1] != '.')
			t->len += (size_t)snprintf(t->s + t->len, sizeof(t->s) - t->len, ", ...");
		return;
	}
	t->len += (size_t)snprintf(t->s + t->len, sizeof(t->s) - t->len, "%s%s", t->len ? ", " : "",
				   item);
}

static const char *const kind_names[] = {
	[KIND_DEPLOYMENT] = "deployment",
	[KIND_REPLICASET] = "replicaset",
	[KIND_STATEFULSET] = "statefulset",
	[KIND_HOST] = "host",
};
static const char *const kind_titles[] = {
	[KIND_DEPLOYMENT] = "Deployment",
	[KIND_REPLICASET] = "ReplicaSet",
	[KIND_STATEFULSET] = "StatefulSet",
	[KIND_HOST] = "Host",
};
_Static_assert(ARRAY_SIZE(kind_names) == NUM_KINDS && ARRAY_SIZE(kind_titles) == NUM_KINDS,
	       "each kind has its names");

const char *workload_kind_name(enum workload_kind k)
{
	return kind_names[k];
}

int workload_kind_parse(enum workload_kind *k, const char *name)
{
	for (unsigned i = 0; i < NUM_KINDS; i++) {
		if (!strcmp(name, kind_names[i])) {
			*k = (enum workload_kind)i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *workload_kind_title(enum workload_kind k)
{
	return kind_titles[k];
}
