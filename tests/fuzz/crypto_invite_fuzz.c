/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Invites. The first byte chooses: even, the rest is the text as a person pastes it; odd, the rest
 * is the body, to which we give a right length and checksum, so that what lies behind them is
 * reached. What parses must be what is written again.
 */
#include <sodium.h>

#include "crypto/crypto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void parse_and_write_again(const char *text, size_t len)
{
	struct invite inv, again;
	struct error e;
	char out[INVITE_TEXT_MAX];

	if (invite_parse(&inv, text, len, &e)) {
		if (!e.text[0])
			abort();
		return;
	}
	int n = invite_format(&inv, out, sizeof(out));
	if (n <= 0 || invite_parse(&again, out, (size_t)n, &e) || memcmp(&inv, &again, sizeof(inv)))
		abort();
}

static void dress(const uint8_t *body, size_t len)
{
	static const char prefix[] = "culvert-invite-1.", label[] = "culvert invite checksum";
	uint8_t bin[1024], hash[32];
	char text[2048];
	crypto_generichash_blake2b_state st;

	len = MIN(len, sizeof(bin) - 10);
	bin[0] = (uint8_t)(len + 10);
	bin[1] = (uint8_t)((len + 10) >> 8);
	memcpy(bin + 2, body, len);
	crypto_generichash_blake2b_init(&st, NULL, 0, sizeof(hash));
	crypto_generichash_blake2b_update(&st, (const uint8_t *)label, sizeof(label) - 1);
	crypto_generichash_blake2b_update(&st, bin, len + 2);
	crypto_generichash_blake2b_final(&st, hash, sizeof(hash));
	memcpy(bin + 2 + len, hash, 8);
	memcpy(text, prefix, sizeof(prefix));
	sodium_bin2base64(text + sizeof(prefix) - 1, sizeof(text) - sizeof(prefix), bin, len + 10,
			  sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	parse_and_write_again(text, strlen(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (crypto_init() || len == 0)
		return 0;
	if (data[0] % 2)
		dress(data + 1, len - 1);
	else
		parse_and_write_again((const char *)data + 1, len - 1);
	return 0;
}
