/* SPDX-License-Identifier: Apache-2.0 */
/* The manager's ConfigMap, as JSON text. What is accepted must keep within its bounds. */
#include "daemon/hello.h"
#include "daemon/told.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *j = json_loadb((const char *)data, size, 0, NULL);
	struct told t;
	struct error e;

	if (!j)
		return 0;
	if (!told_parse(&t, j, &e) &&
	    (t.nudp > TOLD_UDP || !domain_valid(t.domain, sizeof(t.domain))))
		abort();
	json_decref(j);
	return 0;
}
