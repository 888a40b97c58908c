/* SPDX-License-Identifier: Apache-2.0 */
/* kube: any text as a kubeconfig: one sentence, or a configuration that can be shown. */
#include "kube/kube.h"

/* As in conf_yaml_fuzz.c: libfyaml 0.7 leaks on some malformed input. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libfyaml.so";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kube_flags flags = {.service_account = "/nonexistent"};
	struct kube_config *c = NULL;
	struct error e = {.text = ""};
	json_t *view;

	/* It reads the files that the text names: no device, and nothing of this machine. */
	if (memmem(data, size, "/dev", 4) || memmem(data, size, "/proc", 5) ||
	    memmem(data, size, "/sys", 4))
		return 0;
	if (kube_config_parse(&c, "/nonexistent/fuzz", (const char *)data, size, &flags, &e)) {
		if (!*e.text || c || strchr(e.text, '\n'))
			abort();
		return 0;
	}
	view = kube_config_view(c);
	if (!view || !*kube_config_server(c) || !*kube_config_namespace(c))
		abort();
	json_decref(view);
	kube_config_free(c);
	return 0;
}
