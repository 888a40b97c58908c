/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as a DNS message: read, routed and refused without a step beyond their end. */
#undef NDEBUG /* the assertions are the test, in release builds too */
#include <assert.h>

#include "dns/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct dns_config cfg = {.ndomains = 2, .domain = {"shop", "cluster.local"}};
	static struct dns_stub stub;
	struct dns_route r;
	uint16_t qtype;
	char name[256];

	bool valid = dns_question(data, size, name, &qtype) == 0;
	assert(valid == (dns_question_end(data, size) != 0));
	assert(valid == dns_same_question(data, size, data, size));
	if (!valid)
		return 0;
	assert(strlen(name) <= 253);
	if (stub.cfg.ndomains == 0)
		dns_stub_set(&stub, &cfg);
	if (dns_stub_route(&stub, data, size, &r))
		return 0;
	assert(r.cluster ==
	       (dns_name_under(name, "cluster.local") || dns_name_under(name, "shop")));

	uint8_t *copy = malloc(size);
	if (!copy)
		return 0;
	memcpy(copy, data, size);
	size_t len = dns_stub_refuse(copy, size, DNS_RCODE_REFUSED);
	assert(len <= size && (copy[2] & DNS_QR) && dns_same_question(copy, len, data, size));
	free(copy);
	return 0;
}
