/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent: the text of CULVERT_AGENT, of which every port that is taken must make sense. The log goes nowhere; SHOW_LOG=1 shows it,
 * and a sanitizer's report.
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
	pod(data, size);
	if (shown != nowhere)
		dup2(shown, 2);
	return 0;
}
