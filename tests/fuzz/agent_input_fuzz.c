/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent: what others tell it. 'P' and the text of CULVERT_AGENT, of which every port that is taken must make sense; anything else
 * is a snapshot of rules, which must come back the same. The log goes nowhere; SHOW_LOG=1 shows it, and a sanitizer's report.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/internal.h"

static void pod(const uint8_t *data, size_t size)
{
	cleanup(free_ptr) char *text = strndup((const char *)data, size);
	struct agent_config *c = NULL;

	setenv("CULVERT_POD_IP", "10.244.0.7", 1);
	if (!text || setenv("CULVERT_AGENT", text, 1) || agent_config_from_pod(&c))
		return;
	for (unsigned i = 0; i < c->nports; i++) {
		const struct agent_port *p = &c->port[i];

		if (!sockaddr_port(&p->listen) || !sockaddr_port(&p->application) || !p->target)
			abort();
	}
	if (c->has_manager && !c->nendpoints)
		abort();
	agent_config_free(c);
}

static void rules(const uint8_t *data, size_t size)
{
	struct rules r = {.n = 0}, again = {.n = 0};
	json_t *j = json_loadb((const char *)data, size, 0, NULL), *a, *b;
	struct error e;

	if (j && rules_from_json(&r, j, &e) == 0) {
		a = rules_to_json(&r);
		if (rules_from_json(&again, a, &e))
			abort();
		b = rules_to_json(&again);
		if (!json_equal(a, b))
			abort();
		json_decref(a);
		json_decref(b);
	}
	json_decref(j);
	rules_free(&r);
	rules_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int nowhere = -1, shown = -1;

	if (nowhere < 0) {
		nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
		shown = getenv("SHOW_LOG") ? nowhere : dup(2);
	}
	if (size == 0 || nowhere < 0)
		return 0;
	if (shown != nowhere)
		dup2(nowhere, 2);
	if (data[0] == 'P')
		pod(data + 1, size - 1);
	else
		rules(data, size);
	if (shown != nowhere)
		dup2(shown, 2);
	return 0;
}
