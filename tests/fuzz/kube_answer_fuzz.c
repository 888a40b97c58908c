/* SPDX-License-Identifier: Apache-2.0 */
/* kube: what a server or a plugin sends. The first byte says what the rest is: a watch line, an
 * exec plugin's output, a 403's message, a certificate. */
#include "kube/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void line(const char *text, size_t len)
{
	enum kube_line kind;
	json_t *o = NULL;

	if (kube_watch_line(text, len, &kind, &o) == 0 &&
	    (!json_is_object(o) || kind > KUBE_LINE_ERROR))
		abort();
	json_decref(o);
}

static void credential(const char *text, size_t len)
{
	struct kube_credential c;
	struct error e = {.text = ""};

	if (kube_credential_parse(text, len, "client.authentication.k8s.io/v1", &c, &e)) {
		if (!*e.text || strchr(e.text, '\n') != NULL)
			abort();
		return;
	}
	if (!c.token && !c.cert.data)
		abort();
	kube_credential_clear(&c);
}

static void denied(const char *text)
{
	struct kube_denied d;
	char *yaml;

	kube_denied_parse(text, &d);
	yaml = kube_denied_yaml(&d);
	if (yaml && (!*d.verb || !*d.resource))
		abort();
	free(yaml);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;
	nsec_t t;

	if (size == 0)
		return 0;
	text = malloc(size);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	switch (data[0]) {
	case 'l':
		line(text, size - 1);
		break;
	case 'c':
		credential(text, size - 1);
		break;
	case 'd':
		denied(text);
		break;
	case 'x':
		(void)kube_cert_expiry(text, &t);
		break;
	default:
		(void)kube_time_parse(text, &t);
	}
	free(text);
	return 0;
}
