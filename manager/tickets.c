/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tickets: `culvert dashboard` opens the page as who it is by one, good once and for a minute. Kept as digests, as links' secrets
 * are: who reads our memory or the API server's objects cannot enter by them.
 */
#include <errno.h>

#include "base/base64.h"
#include "manager/kubernetes.h"

struct tickets {
	struct ticket {
		char hash[SHARE_HASH_LEN + 1]; /* "" = free */
		char *user, *login;
		nsec_t at;
	} ticket[TICKETS_MAX];
	unsigned next;
};

void secret_hash(const char *text, char hash[static SHARE_HASH_LEN + 1])
{
	uint8_t sum[DIGEST_LEN];

	digest(sum, text, strlen(text));
	hex_encode(hash, sum, sizeof(sum));
}

void secret_make(char text[static TICKET_LEN + 1], char hash[static SHARE_HASH_LEN + 1])
{
	uint8_t secret[32];

	crypto_random(secret, sizeof(secret));
	base64url_encode(text, secret, sizeof(secret));
	crypto_wipe(secret, sizeof(secret));
	secret_hash(text, hash);
}

int tickets_new(struct tickets **tp)
{
	*tp = calloc(1, sizeof(**tp));
	return *tp ? 0 : -ENOMEM;
}

static void forget(struct ticket *t)
{
	free(t->user);
	free(t->login);
	*t = (struct ticket){.at = 0};
}

void tickets_free(struct tickets *t)
{
	for (unsigned i = 0; t && i < TICKETS_MAX; i++)
		forget(&t->ticket[i]);
	free(t);
}

int ticket_make(struct tickets *t, const char *user, const char *login, nsec_t now,
		char ticket[static TICKET_LEN + 1])
{
	struct ticket *to = &t->ticket[t->next % TICKETS_MAX];
	struct ticket made = {.user = strdup(user), .login = strdup(login), .at = now};

	if (!made.user || !made.login) {
		forget(&made);
		return -ENOMEM;
	}
	secret_make(ticket, made.hash);
	forget(to);
	*to = made;
	t->next++;
	return 0;
}

bool ticket_redeem(struct tickets *t, const char *ticket, nsec_t now, char **user, char **login)
{
	char hash[SHARE_HASH_LEN + 1];
	bool good;

	secret_hash(ticket, hash);
	for (unsigned i = 0; i < TICKETS_MAX; i++) {
		struct ticket *k = &t->ticket[i];

		if (!secret_equal(k->hash, hash))
			continue;
		good = now - k->at <= TICKET_TTL_S * NSEC_PER_SEC;
		if (good) {
			*user = steal_ptr(k->user);
			*login = steal_ptr(k->login);
		}
		forget(k);
		return good;
	}
	return false;
}
