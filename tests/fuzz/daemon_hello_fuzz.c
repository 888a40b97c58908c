/* SPDX-License-Identifier: Apache-2.0 */
/* The manager's answer to hello, as JSON text. What is accepted must keep within its bounds. */
#include "daemon/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *j = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
	struct prefix host;
	struct hello h;
	struct error e;
	unsigned i;

	if (!j)
		return 0;
	if (!hello_parse(&h, j, &e)) {
		host = prefix_host(&h.address);
		if (h.prefixes.n > PREFIXES_MAX || h.ndomains > DNS_DOMAINS ||
		    h.nsearch > PRIVSEP_SEARCH)
			abort();
		for (i = 0; i < h.nsearch; i++)
			if (!h.search[i][0] || strpbrk(h.search[i], " \n\t"))
				abort();
		(void)prefixes_subtract(&h.prefixes, &host);
		if (prefixes_find(&h.prefixes, &h.address) && h.prefixes.n < PREFIXES_MAX - 32)
			abort();
	}
	json_decref(j);
	return 0;
}
