/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as a resolv.conf: read, and written anew to a text whose only server is the stub. And as an
 * nsswitch.conf. */
#undef NDEBUG /* the assertions are the test, in release builds too */
#include <assert.h>

#include "dns/resolv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const search[] = {"cluster.local"};
	struct resolv_conf rc;
	size_t len;
	char *text;

	resolv_parse(&rc, (const char *)data, size);
	assert(rc.nresolvers <= 3 && rc.nsearch <= 6);
	if (resolv_render(&text, &len, (const char *)data, size, search, 1, 5,
			  "/state/resolv.conf.before"))
		return 0;
	resolv_parse(&rc, text, len);
	assert(rc.nresolvers == 0); /* the stub is never its own */
	assert(rc.nsearch >= 1 && strcmp(rc.search[0], "cluster.local") == 0);
	free(text);
	text = strndup((const char *)data, size); /* of its exact length */
	assert(!nsswitch_resolves(text) || (strstr(text, "hosts:") && strstr(text, "resolve")));
	free(text);
	return 0;
}
