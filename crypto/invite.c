/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Invites: what a manager prints and a newcomer pastes, and the claim in it that travels in the
 * first handshake message. The text is
 *
 *	culvert-invite-1.BASE64URL( u16 length, claim, manager's key, psk, endpoints, checksum )
 *
 * The length comes first and the checksum last, so that a paste which lost its end is told from one
 * with a typing error. The checksum is no protection against forgery: the psk is.
 */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#include "crypto/messages.h"

static const char magic[] = "culvert-invite-";
static const char prefix[] = "culvert-invite-1.";
static const char psk_label[] = "culvert invite psk";
static const char checksum_label[] = "culvert invite checksum";

enum {
	PREFIX_LEN = sizeof(prefix) - 1,
	CHECKSUM_LEN = 8,
	/* length, claim, two keys, number of endpoints, checksum */
	BODY_MIN = 2 + sizeof(struct wire_claim) + 2 * KEY_LEN + 1 + CHECKSUM_LEN,
	BODY_MAX = BODY_MIN + INVITE_ENDPOINTS * ADDR_STRLEN, /* each one length byte, then text */
};

static_assert(PREFIX_LEN + sodium_base64_ENCODED_LEN(BODY_MAX,
						     sodium_base64_VARIANT_URLSAFE_NO_PADDING) <=
		      INVITE_TEXT_MAX,
	      "the longest invite fits");

/* --- the claim -------------------------------------------------------------------------------- */

static bool name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '-';
}

bool name_valid(const char *name)
{
	size_t n = 0;

	while (n <= NAME_MAX_LEN && name[n]) {
		if (!name_char(name[n]))
			return false;
		n++;
	}
	return n >= 1 && n <= NAME_MAX_LEN;
}

bool claim_valid(const struct invite_claim *c)
{
	return (c->role == ROLE_LAPTOP || c->role == ROLE_AGENT) && name_valid(c->name);
}

void claim_pack(struct wire_claim *w, const struct invite_claim *c)
{
	memset(w, 0, sizeof(*w));
	memcpy(w->id, c->id, INVITE_ID_LEN);
	w->role = c->role;
	put_le64(w->expiry, c->expiry);
	memcpy(w->name, c->name, strnlen(c->name, NAME_MAX_LEN));
}

int claim_unpack(struct invite_claim *c, const struct wire_claim *w)
{
	struct invite_claim new = {.role = w->role, .expiry = get_le64(w->expiry)};
	size_t len = strnlen((const char *)w->name, NAME_MAX_LEN);

	if (!sodium_is_zero(w->name + len, NAME_MAX_LEN - len))
		return -EBADMSG; /* two spellings of one claim would have two psks */
	memcpy(new.id, w->id, INVITE_ID_LEN);
	memcpy(new.name, w->name, len);
	if (!claim_valid(&new))
		return -EBADMSG;
	*c = new;
	return 0;
}

void invite_psk(uint8_t psk[static KEY_LEN], const uint8_t secret[static KEY_LEN],
		const struct invite_claim *c)
{
	crypto_generichash_blake2b_state st;
	struct wire_claim w;

	claim_pack(&w, c);
	crypto_generichash_blake2b_init(&st, secret, KEY_LEN, KEY_LEN);
	crypto_generichash_blake2b_update(&st, (const uint8_t *)psk_label, sizeof(psk_label) - 1);
	crypto_generichash_blake2b_update(&st, (const uint8_t *)&w, sizeof(w));
	crypto_generichash_blake2b_final(&st, psk, KEY_LEN);
	crypto_wipe(&st, sizeof(st));
}

/* --- the text --------------------------------------------------------------------------------- */

static void checksum(uint8_t out[static CHECKSUM_LEN], const uint8_t *body, size_t len)
{
	crypto_generichash_blake2b_state st;
	uint8_t hash[32];

	crypto_generichash_blake2b_init(&st, NULL, 0, sizeof(hash));
	crypto_generichash_blake2b_update(&st, (const uint8_t *)checksum_label,
					  sizeof(checksum_label) - 1);
	crypto_generichash_blake2b_update(&st, body, len);
	crypto_generichash_blake2b_final(&st, hash, sizeof(hash));
	memcpy(out, hash, CHECKSUM_LEN);
	crypto_wipe(&st, sizeof(st)); /* it has swallowed the psk */
}

static bool endpoint_valid(const char *text)
{
	union sockaddr_any sa;

	return strnlen(text, ADDR_STRLEN) < ADDR_STRLEN && !sockaddr_parse(&sa, text) &&
	       sockaddr_port(&sa) != 0;
}

int invite_format(const struct invite *inv, char *text, size_t size)
{
	uint8_t body[BODY_MAX], *p = body + 2;
	struct wire_claim claim;

	if (!claim_valid(&inv->claim) || inv->nendpoints > INVITE_ENDPOINTS)
		return -EINVAL;
	for (unsigned i = 0; i < inv->nendpoints; i++)
		if (!endpoint_valid(inv->endpoint[i]))
			return -EINVAL;
	if (size < INVITE_TEXT_MAX)
		return -ENOSPC;

	claim_pack(&claim, &inv->claim);
	p = mempcpy(p, &claim, sizeof(claim));
	p = mempcpy(p, inv->manager, KEY_LEN);
	p = mempcpy(p, inv->psk, KEY_LEN);
	*p++ = (uint8_t)inv->nendpoints;
	for (unsigned i = 0; i < inv->nendpoints; i++) {
		size_t len = strlen(inv->endpoint[i]);
		*p++ = (uint8_t)len;
		p = mempcpy(p, inv->endpoint[i], len);
	}
	size_t len = (size_t)(p - body) + CHECKSUM_LEN;
	body[0] = (uint8_t)len;
	body[1] = (uint8_t)(len >> 8);
	checksum(p, body, len - CHECKSUM_LEN);

	memcpy(text, prefix, PREFIX_LEN);
	sodium_bin2base64(text + PREFIX_LEN, size - PREFIX_LEN, body, len,
			  sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	crypto_wipe(body, sizeof(body));
	return (int)strlen(text);
}

static const char truncated[] = "the invite is truncated: its end is missing; copy the whole line";
static const char damaged[] =
	"the invite is damaged: a character was changed or added; copy it again";

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Checks what stands before the base64, and steps over it. */
static int parse_prefix(const char **text, size_t *len, struct error *e)
{
	const char *t = *text;
	size_t n = *len, magic_len = sizeof(magic) - 1;
	size_t digits = 0;

	if (n == 0)
		return error_set(e, -EINVAL, "the invite is empty");
	if (n < magic_len && !memcmp(t, magic, n))
		return error_set(e, -EINVAL, "%s", truncated);
	if (n < magic_len || memcmp(t, magic, magic_len))
		return error_set(e, -EINVAL, "this is not an invite: one begins with \"%s\"",
				 prefix);
	t += magic_len;
	n -= magic_len;
	while (digits < n && t[digits] >= '0' && t[digits] <= '9')
		digits++;
	if (digits == n && digits <= 4)
		return error_set(e, -EINVAL, "%s", truncated);
	if (digits == 0 || digits > 4 || t[digits] != '.')
		return error_set(e, -EINVAL, "%s", damaged);
	if (digits != 1 || t[0] != '1')
		return error_set(e, -EINVAL,
				 "the invite is of version %.*s and this program knows version 1; "
				 "install the same release as the manager's",
				 (int)digits, t);
	*text = t + digits + 1;
	*len = n - digits - 1;
	return 0;
}

/* Decodes into body[BODY_MAX]; the length it declares is the length it has. */
static int parse_base64(uint8_t *body, size_t *body_len, const char *text, size_t len,
			struct error *e)
{
	enum { VARIANT = sodium_base64_VARIANT_URLSAFE_NO_PADDING };
	uint8_t head[3] = {0};
	size_t got;

	if (len < 4)
		return error_set(e, -EINVAL, "%s", truncated);
	if (sodium_base642bin(head, sizeof(head), text, 4, NULL, &got, NULL, VARIANT))
		return error_set(e, -EINVAL, "%s", damaged);
	size_t want = head[0] | (size_t)head[1] << 8;
	if (want < BODY_MIN || want > BODY_MAX)
		return error_set(e, -EINVAL, "%s", damaged);
	size_t want_chars = (want * 4 + 2) / 3;
	if (len < want_chars)
		return error_set(e, -EINVAL, "%s", truncated);
	if (len > want_chars ||
	    sodium_base642bin(body, BODY_MAX, text, len, NULL, &got, NULL, VARIANT) || got != want)
		return error_set(e, -EINVAL, "%s", damaged);
	*body_len = want;
	return 0;
}

/* The endpoints take exactly what is left: `p` to `end`. */
static int parse_endpoints(struct invite *inv, const uint8_t *p, const uint8_t *end)
{
	unsigned n = *p++;

	if (n > INVITE_ENDPOINTS)
		return -EINVAL;
	for (unsigned i = 0; i < n; i++) {
		if (p == end)
			return -EINVAL;
		size_t len = *p++;
		if (len >= ADDR_STRLEN || len > (size_t)(end - p))
			return -EINVAL;
		memcpy(inv->endpoint[i], p, len);
		p += len;
		if (strlen(inv->endpoint[i]) != len || !endpoint_valid(inv->endpoint[i]))
			return -EINVAL;
	}
	inv->nendpoints = n;
	return p == end ? 0 : -EINVAL;
}

int invite_parse(struct invite *inv, const char *text, size_t len, struct error *e)
{
	uint8_t body[BODY_MAX] = {0}, sum[CHECKSUM_LEN];
	struct invite new = {0};
	struct wire_claim claim;
	size_t body_len = 0;
	int ret;

	while (len && is_space(text[0]))
		text++, len--;
	while (len && is_space(text[len - 1]))
		len--;
	ret = parse_prefix(&text, &len, e);
	if (!ret)
		ret = parse_base64(body, &body_len, text, len, e);
	if (ret)
		goto out;

	const uint8_t *end = body + body_len - CHECKSUM_LEN, *p = body + 2;
	checksum(sum, body, (size_t)(end - body));
	if (sodium_memcmp(sum, end, CHECKSUM_LEN))
		goto bad;
	memcpy(&claim, p, sizeof(claim));
	p += sizeof(claim);
	memcpy(new.manager, p, KEY_LEN);
	p += KEY_LEN;
	memcpy(new.psk, p, KEY_LEN);
	p += KEY_LEN;
	if (claim_unpack(&new.claim, &claim) || parse_endpoints(&new, p, end))
		goto bad;
	*inv = new;
	ret = 0;
	goto out;
bad:
	ret = error_set(e, -EINVAL, "%s", damaged);
out:
	crypto_wipe(body, sizeof(body));
	crypto_wipe(&new, sizeof(new));
	return ret;
}
