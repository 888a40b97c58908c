/* SPDX-License-Identifier: Apache-2.0 */
/* Values of an installation: defaults, and what each may hold. */
#include <errno.h>
#include <stdio.h>

#include "base/addr.h"
#include "deploy/internal.h"

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGIT "0123456789"

static void wipe(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

void deploy_values_clear(struct deploy_values *v)
{
	wipe(v->overlay_key);
	wipe(v->ca_cert);
	wipe(v->ca_key);
	memset(v, 0, sizeof(*v));
}

static bool only(const char *s, const char *characters)
{
	return !s[strspn(s, characters)];
}

/* A DNS label (RFC 1123): what a namespace may be called. */
static bool is_label(const char *s)
{
	size_t len = strlen(s);

	return len && len <= 63 && only(s, LOWER DIGIT "-") && *s != '-' && s[len - 1] != '-';
}

static bool is_duration(const char *s)
{
	size_t digits = strspn(s, DIGIT);

	return digits && digits <= 6 && strspn(s, "0") < digits && strchr("smhd", s[digits]) &&
	       s[digits] && !s[digits + 1];
}

static int check_image(const char *what, const char *image, struct error *e)
{
	if (only(image, LOWER UPPER DIGIT "._-/:@"))
		return 0;
	return error_set(e, -EINVAL, "%s %.200s: write an image such as registry/culvert:1", what,
			 image);
}

static int check_prefixes(const char *list, struct error *e)
{
	while (*list) {
		size_t len = strcspn(list, ",");
		char one[64];
		struct prefix p;

		snprintf(one, sizeof(one), "%.*s", (int)MIN(len, sizeof(one) - 1), list);
		if (len >= sizeof(one) || prefix_parse(&p, one))
			return error_set(e, -EINVAL,
					 "prefixes: %s is none; write them such as "
					 "10.96.0.0/16,10.244.0.0/16",
					 one);
		list += len;
		if (*list && !*++list)
			return error_set(e, -EINVAL, "prefixes: nothing follows the last comma");
	}
	return 0;
}

static int check_groups(const struct deploy_values *v, struct error *e)
{
	if (v->ngroups > DEPLOY_GROUPS)
		return error_set(e, -EINVAL, "more than %d groups", DEPLOY_GROUPS);
	for (unsigned i = 0; i < v->ngroups; i++) {
		const char *g = v->group[i];
		json_t *text = json_string(g); /* NULL: not UTF-8 */
		bool ok = text && *g && *g != '\n';

		for (; ok && *g; g++)
			ok = (unsigned char)*g >= ' ' && *g != 0x7f;
		json_decref(text);
		if (!ok)
			return error_set(e, -EINVAL, "group %u: write the name of a group", i + 1);
	}
	return 0;
}

static int check_times(const struct deploy_values *v, struct error *e)
{
	if (*v->holder_timeout && !is_duration(v->holder_timeout))
		return error_set(e, -EINVAL,
				 "holder timeout %s: write a number with s, m, h or d, such as 10m",
				 v->holder_timeout);
	if (*v->session_timeout && !is_duration(v->session_timeout))
		return error_set(
			e, -EINVAL,
			"session timeout %s: write a number with s, m, h or d, such as 24h",
			v->session_timeout);
	return 0;
}

static int check_base64(const char *what, const char *text, struct error *e)
{
	if (!text || only(text, LOWER UPPER DIGIT "+/="))
		return 0;
	return error_set(e, -EINVAL, "the Secret's %s is no base64", what);
}

static bool is_one_of(const char *s, const char *a, const char *b, const char *c)
{
	return !*s || !strcmp(s, a) || !strcmp(s, b) || !strcmp(s, c);
}

int deploy_check(const struct deploy_values *v, struct error *e)
{
	struct prefix p;
	int err;

	if (*v->ns && !is_label(v->ns))
		return error_set(e, -EINVAL,
				 "namespace %s: a name has small letters, digits and '-'", v->ns);
	if (!is_one_of(v->udp_service, "NodePort", "LoadBalancer", "None"))
		return error_set(e, -EINVAL, "UDP service %s: write NodePort, LoadBalancer or None",
				 v->udp_service);
	if (!is_one_of(v->pull_policy, "Always", "IfNotPresent", "Never"))
		return error_set(e, -EINVAL, "pull policy %s: write Always, IfNotPresent or Never",
				 v->pull_policy);
	if (v->udp_node_port > 65535)
		return error_set(e, -EINVAL, "node port %u: the largest is 65535",
				 v->udp_node_port);
	if (*v->service_prefix && prefix_parse(&p, v->service_prefix))
		return error_set(e, -EINVAL, "service prefix %s: write it such as 10.96.0.0/16",
				 v->service_prefix);
	err = check_image("manager image", v->manager_image, e);
	if (!err)
		err = check_image("agent image", v->agent_image, e);
	if (!err)
		err = check_prefixes(v->prefixes, e);
	if (!err)
		err = check_times(v, e);
	if (!err)
		err = check_groups(v, e);
	if (!err)
		err = check_base64("key", v->overlay_key, e);
	if (!err)
		err = check_base64("ca.crt", v->ca_cert, e);
	return err ? err : check_base64("ca.key", v->ca_key, e);
}

int deploy_service_range(const char *message, char *buf, size_t size)
{
	static const char before[] = "range of valid IPs is ";
	const char *p = strstr(message, before);
	struct prefix prefix;
	size_t len;

	if (!p)
		return -ENOENT;
	p += strlen(before);
	len = strspn(p, "0123456789abcdefABCDEF.:/");
	if (!len || len >= size)
		return -ENOENT;
	memcpy(buf, p, len);
	buf[len] = '\0';
	if (buf[len - 1] == '.') /* the sentence's */
		buf[len - 1] = '\0';
	return prefix_parse(&prefix, buf) ? -ENOENT : 0;
}
