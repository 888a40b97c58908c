/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: an AdmissionReview on stdin, the manager's answer on stdout, what was done on stderr.
 * inject_cli IMAGE [POD-SECURITY [container]]: "container" = no native sidecars.
 */
#include <stdio.h>

#include "inject/inject.h"

static void look(void *arg, const char *ns, struct inject_namespace *to)
{
	(void)ns;
	snprintf(to->pod_security, sizeof(to->pod_security), "%s", (const char *)arg);
}

int main(int argc, char **argv)
{
	static char none[] = "";
	static char body[4 << 20];
	struct inject_config cfg = {
		/* of nobody: the base point of Curve25519 */
		.manager_key = "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		.nendpoints = 1,
		.endpoint = {"10.96.5.6:31820"},
		.cpu_request = "10m",
		.memory_request = "16Mi",
		.memory_limit = "256Mi", /* what a build with sanitizers needs */
		.look = look,
		.arg = argc > 2 ? argv[2] : none,
		.sidecar = argc < 4,
	};
	size_t len = fread(body, 1, sizeof(body), stdin);
	struct error what;
	char *answer;
	int r;

	snprintf(cfg.image, sizeof(cfg.image), "%s", argc > 1 ? argv[1] : "culvert-agent");
	r = inject_review(&cfg, body, len, &answer, &what);
	fprintf(stderr, "%s\n", what.text);
	if (r)
		return 1;
	puts(answer);
	free(answer);
	return 0;
}
