/* SPDX-License-Identifier: Apache-2.0 */
/* libsodium's start, randomness and wiping under our names; keys as text; timestamps. */
#include <errno.h>
#include <sodium.h>

#include "crypto/crypto.h"

int crypto_init(void)
{
	return sodium_init() < 0 ? -EIO : 0;
}

void crypto_random(void *buf, size_t len)
{
	randombytes_buf(buf, len);
}

void crypto_wipe(void *buf, size_t len)
{
	sodium_memzero(buf, len);
}

void key_format(const uint8_t key[static KEY_LEN], char text[static KEY_TEXT_LEN])
{
	sodium_bin2base64(text, KEY_TEXT_LEN, key, KEY_LEN, sodium_base64_VARIANT_ORIGINAL);
}

int key_parse(uint8_t key[static KEY_LEN], const char *text)
{
	uint8_t bin[KEY_LEN];
	size_t len;
	int ret = -EINVAL;

	if (strnlen(text, KEY_TEXT_LEN) != KEY_TEXT_LEN - 1)
		return -EINVAL;
	if (sodium_base642bin(bin, sizeof(bin), text, KEY_TEXT_LEN - 1, NULL, &len, NULL,
			      sodium_base64_VARIANT_ORIGINAL) ||
	    len != KEY_LEN)
		goto out;
	memcpy(key, bin, KEY_LEN);
	ret = 0;
out:
	crypto_wipe(bin, sizeof(bin));
	return ret;
}

void tai64n_next(uint8_t stamp[static TAI64N_LEN], nsec_t real, nsec_t *last)
{
	nsec_t t = MAX(real, *last + 1);

	put_be64(stamp, UINT64_C(0x400000000000000a) + t / NSEC_PER_SEC);
	put_be32(stamp + 8, (uint32_t)(t % NSEC_PER_SEC));
	*last = t;
}
