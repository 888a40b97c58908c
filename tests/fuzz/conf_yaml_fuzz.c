/* SPDX-License-Identifier: Apache-2.0 */
/* conf: any text as a configuration; then every value is asked for as every type. */
#include "conf/conf.h"

/* libfyaml 0.7 leaks a quoted scalar when a flow sequence with it turns out malformed: a few hundred bytes, once per file that is
 * refused. Our own tree is allocated outside it, so its leaks are still seen. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libfyaml.so";
}

static void walk(const struct conf_node *n)
{
	static const char *const keys[] = {"listen", "state", NULL};
	struct error e;
	const char *s;
	long v;
	bool b;
	struct prefix p;
	union sockaddr_any sa;

	if (conf_string(n, &s, &e) == 0 && strlen(s) > 1 << 20)
		abort();
	if (conf_int(n, 1, 100, &v, &e) == 0 && (v < 1 || v > 100))
		abort();
	conf_bool(n, &b, &e);
	conf_prefix(n, &p, &e);
	conf_sockaddr(n, &sa, &e);
	conf_keys(n, keys, &e);
	for (size_t i = 0; i < conf_count(n); i++) {
		if (conf_is_map(n) && !conf_get(n, conf_key_at(n, i)))
			abort();
		walk(conf_at(n, i));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf *c = NULL;
	struct error e = {.text = ""};

	if (conf_parse(&c, "fuzz", (const char *)data, size, &e) == 0)
		walk(conf_root(c));
	else if (!*e.text || c)
		abort();
	conf_free(c);
	return 0;
}
