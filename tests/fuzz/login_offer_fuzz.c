/* SPDX-License-Identifier: Apache-2.0 */
/* What the manager's ConfigMap says about logging in, as JSON text. What is accepted may be printed, and handed to a browser. */
#include "login/login.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_url(const char *url)
{
	if (*url && strncmp(url, "https://", 8) != 0 && strncmp(url, "http://", 7) != 0)
		abort();
	for (; *url; url++) {
		if (*url <= ' ' || *url >= 0x7f)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct login_offer o;
	json_t *j = json_loadb((const char *)data, size, 0, NULL);
	struct error e;

	if (!j)
		return 0;
	if (!login_offer_parse(&o, j, &e)) {
		check_url(o.issuer);
		check_url(o.previews);
		check_url(o.dashboard);
		if (*o.issuer && !*o.client_id)
			abort();
	}
	json_decref(j);
	return 0;
}
