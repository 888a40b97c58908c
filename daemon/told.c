/* SPDX-License-Identifier: Apache-2.0 */
/* The manager's ConfigMap. Only the manager may write it; it is read as if anybody could. */
#include <errno.h>
#include <stdio.h>

#include "daemon/hello.h"
#include "daemon/told.h"

#define PROTOCOL "1"

static const char *text_of(const json_t *data, const char *key)
{
	const char *s = json_string_value(json_object_get(data, key));

	return s ? s : "";
}

static int parse_udp(struct told *t, const char *text, struct error *e)
{
	json_t *list, *v;
	size_t i;
	int err = 0;

	if (!*text)
		return 0;
	list = json_loads(text, 0, NULL);
	if (!json_is_array(list))
		err = error_set(e, -EINVAL, "the manager's 'udp' is no list of addresses");
	json_array_foreach(list, i, v)
	{
		const char *s = json_string_value(v);

		if (err || t->nudp == TOLD_UDP)
			break;
		if (!s || sockaddr_parse(&t->udp[t->nudp], s))
			err = error_set(e, -EINVAL,
					"the manager's 'udp' names '%.80s', which is no IP:PORT",
					s ? s : "?");
		else
			t->nudp++;
	}
	json_decref(list);
	return err;
}

int told_parse(struct told *t, const json_t *configmap, struct error *e)
{
	const json_t *data = json_object_get(configmap, "data");
	const char *protocol = text_of(data, "protocol"), *version = text_of(data, "version");

	memset(t, 0, sizeof(*t));
	/* The one that went away has left its words; a new one says them anew. */
	if (!*text_of(data, "publicKey") || strcmp(text_of(data, "ready"), "true"))
		return error_set(e, -EAGAIN, "the manager is not ready");
	if (strcmp(protocol, PROTOCOL))
		return error_set(
			e, -EPROTO,
			"the cluster's culvert is %.31s and speaks protocol '%.15s'; this one "
			"(%s) speaks " PROTOCOL ". Use the same version on both sides",
			*version ? version : "of an unknown version", protocol, CULVERT_VERSION);
	if (key_parse(t->key, text_of(data, "publicKey")))
		return error_set(e, -EINVAL, "the manager's 'publicKey' is no key");
	snprintf(t->version, sizeof(t->version), "%s", version);
	if (!domain_valid(text_of(data, "clusterDomain"), sizeof(t->domain)))
		return error_set(e, -EINVAL, "the manager's 'clusterDomain' is no domain");
	snprintf(t->domain, sizeof(t->domain), "%s", text_of(data, "clusterDomain"));
	return parse_udp(t, text_of(data, "udp"), e);
}
