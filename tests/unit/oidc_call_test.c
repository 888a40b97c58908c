/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls against an issuer in the same loop, which says what the real one (tests/net/test_oidc.py) never does: rubbish, errors,
 * too much; how often it is asked; and callbacks that end everything.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "oidc/internal.h"
#include "tests/unit/http_site.h"
#include "tests/unit/oidc_keys.h"

static struct event_base *base;
static struct site site;
static struct oidc *oidc;
static struct test_key key, unknown;
static char issuer[64];

/* What each endpoint answers; NULL = as it should. */
static struct {
	const char *metadata, *keys, *token, *device;
	int metadata_status, keys_status, token_status, device_status;
} give;

static struct {
	unsigned metadata, keys, token, device;
} asked;

static struct {
	unsigned calls, shows;
	int error;
	char sentence[1024], subject[256], refresh[64], url[2048];
	bool tokens;
} got;

/* --- the issuer ------------------------------------------------------------------------------------------ */

static void say(struct evbuffer *out, int status, const char *given, json_t *usual)
{
	char *text = json_dumps(usual, 0);

	site_say(out, status ? status : 200, "", given ? given : text);
	free(text);
	json_decref(usual);
}

static void say_metadata(struct evbuffer *out)
{
	json_t *o = json_pack("{s:s}", "issuer", issuer);
	static const char *const names[] = {"token_endpoint", "jwks_uri",
					    "device_authorization_endpoint",
					    "authorization_endpoint", "revocation_endpoint"};
	static const char *const paths[] = {"token", "keys", "device", "auth?x=y", "revoke"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		json_object_set_new(o, names[i], json_sprintf("%s/%s", issuer, paths[i]));
	json_object_set_new(o, "scopes_supported", json_pack("[s, s]", "openid", "offline_access"));
	asked.metadata++;
	say(out, give.metadata_status, give.metadata, o);
}

static char *token_by(const struct test_key *k)
{
	return test_sign(k,
			 test_claims(issuer, "culvert", (long long)(clock_real() / NSEC_PER_SEC)));
}

static void answer(struct site *s, const char *head, const char *body, struct evbuffer *out)
{
	char *token;

	(void)s;
	(void)body;
	if (strstr(head, "/.well-known/openid-configuration ")) {
		say_metadata(out);
	} else if (strstr(head, "GET /keys ")) {
		asked.keys++;
		say(out, give.keys_status, give.keys, json_pack("{s:[o]}", "keys", test_jwk(&key)));
	} else if (strstr(head, "POST /device ")) {
		asked.device++;
		say(out, give.device_status, give.device,
		    json_pack("{s:s, s:s, s:s, s:i, s:i}", "device_code", "d", "user_code", "ABCD",
			      "verification_uri", issuer, "interval", 1, "expires_in", 60));
	} else {
		assert_non_null(strstr(head, "POST /token "));
		token = token_by(strstr(body, "refresh_token=odd") ? &unknown : &key);
		asked.token++;
		say(out, give.token_status, give.token,
		    json_pack("{s:s, s:s}", "id_token", token, "refresh_token", "next"));
		free(token);
	}
}

/* --- callbacks ------------------------------------------------------------------------------------------- */

static void note(int error, const struct error *e)
{
	got.calls++;
	got.error = error;
	assert_int_equal(!error, !e);
	snprintf(got.sentence, sizeof(got.sentence), "%s", e ? e->text : "");
	event_base_loopbreak(base);
}

static void on_verified(void *arg, int error, const struct oidc_identity *who,
			const struct error *e)
{
	(void)arg;
	assert_int_equal(!error, who != NULL);
	snprintf(got.subject, sizeof(got.subject), "%s", who ? who->subject : "");
	note(error, e);
}

static void on_got(void *arg, int error, const struct oidc_tokens *t, const struct error *e)
{
	(void)arg;
	got.tokens = t;
	snprintf(got.refresh, sizeof(got.refresh), "%s",
		 t && t->refresh_token ? t->refresh_token : "");
	note(error, e);
}

static void on_url(void *arg, int error, const char *url, const struct error *e)
{
	(void)arg;
	snprintf(got.url, sizeof(got.url), "%s", url ? url : "");
	note(error, e);
}

static void on_show(void *arg, const char *uri, const char *code, const char *complete)
{
	(void)arg;
	assert_string_equal(uri, issuer);
	assert_string_equal(code, "ABCD");
	assert_null(complete);
	got.shows++;
	event_base_loopbreak(base);
}

/* --- each test begins with an issuer that knows nobody ---------------------------------------------------- */

static struct oidc *make(bool offline)
{
	struct oidc_config cfg = {.issuer = issuer,
				  .client_id = "culvert",
				  .offline = offline,
				  .nallow = 1,
				  .allow = {"groups=dev"}};
	struct oidc *o = NULL;
	struct error e;

	if (oidc_new(&o, base, &cfg, &e))
		fail_msg("%s", e.text);
	return o;
}

static int begin(void **unused)
{
	(void)unused;
	memset(&give, 0, sizeof(give));
	memset(&asked, 0, sizeof(asked));
	memset(&got, 0, sizeof(got));
	oidc = make(true);
	return 0;
}

static int end(void **unused)
{
	(void)unused;
	oidc_free(oidc);
	oidc = NULL;
	return 0;
}

static int setup(void **unused)
{
	(void)unused;
	unsetenv("http_proxy");
	base = event_base_new();
	site.answer = answer;
	if (!base || site_open(&site, base))
		return -1;
	snprintf(issuer, sizeof(issuer), "http://127.0.0.1:%d", site.port);
	key = test_key_ec("one", "P-256");
	unknown = test_key_ec("other", "P-256");
	return 0;
}

static int teardown(void **unused)
{
	(void)unused;
	evconnlistener_free(site.listener);
	event_base_free(base);
	EVP_PKEY_free(key.pkey);
	EVP_PKEY_free(unknown.pkey);
	return 0;
}

static void verify(const struct test_key *k)
{
	char *t = token_by(k);

	assert_int_equal(oidc_verify(oidc, t, NULL, on_verified, NULL, NULL), 0);
	free(t);
}

static void wait_for(unsigned calls)
{
	while (got.calls < calls)
		event_base_dispatch(base);
}

static void expect(int error, const char *says)
{
	if (got.error != error || !strstr(got.sentence, says))
		fail_msg("expected %d '%s', got %d '%s'", error, says, got.error, got.sentence);
}

/* --- how often it is asked -------------------------------------------------------------------------------- */

static void test_asked_once(void **unused)
{
	(void)unused;
	for (int i = 0; i < 100; i++)
		verify(&key);
	assert_int_equal(got.calls, 0); /* from the loop alone */
	wait_for(100);
	expect(0, "");
	assert_string_equal(got.subject, "248289");
	verify(&key);
	assert_int_equal(got.calls, 100);
	wait_for(101);
	expect(0, "");
	assert_int_equal(asked.metadata, 1);
	assert_int_equal(asked.keys, 1);
}

static void test_unknown_keys(void **unused)
{
	(void)unused;
	/* Keys that came after the token did are the last word. */
	verify(&unknown);
	wait_for(1);
	expect(OIDC_REFUSED, "key that the issuer does not have ('other')");
	assert_int_equal(asked.keys, 1);
	/* From now on ten seconds are kept: these wait, and others do not wait for them. */
	verify(&unknown);
	verify(&unknown);
	verify(&key);
	wait_for(2);
	expect(0, "");
	oidc->asked_at -= (OIDC_KEYS_EVERY_S - 1) * NSEC_PER_SEC; /* but for one of them */
	oidc->keys_at -= (OIDC_KEYS_EVERY_S - 1) * NSEC_PER_SEC;
	event_active(oidc->later, EV_TIMEOUT, 0);
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_int_equal(asked.keys, 1);
	wait_for(4);
	expect(OIDC_REFUSED, "does not have ('other')");
	assert_int_equal(asked.keys, 2);
}

static void test_old_words(void **unused)
{
	(void)unused;
	verify(&key);
	wait_for(1);
	oidc->metadata_at -= (OIDC_FRESH_S + 1) * NSEC_PER_SEC;
	oidc->keys_at -= (OIDC_FRESH_S + 1) * NSEC_PER_SEC;
	verify(&key);
	wait_for(2);
	expect(0, "");
	assert_int_equal(asked.metadata, 2);
	assert_int_equal(asked.keys, 2);
	/* It is away: an hour is no reason to refuse, a day is. */
	give.keys_status = 500;
	oidc->keys_at -= (OIDC_FRESH_S + 1) * NSEC_PER_SEC;
	verify(&key);
	wait_for(3);
	expect(0, "");
	assert_int_equal(asked.keys, 3);
	/* Nobody else waits for it, for half a minute. */
	verify(&key);
	wait_for(4);
	expect(0, "");
	assert_int_equal(asked.keys, 3);
	oidc->failed_at -= (OIDC_AGAIN_S + 1) * NSEC_PER_SEC;
	verify(&key);
	wait_for(5);
	expect(0, "");
	assert_int_equal(asked.keys, 4);
	oidc->keys_at -= (OIDC_STALE_S + 1) * NSEC_PER_SEC;
	verify(&key);
	wait_for(6);
	expect(OIDC_UNREACHABLE, "answered 500 where its keys should be");
}

/* --- what it says ------------------------------------------------------------------------------------------ */

static void test_bad_words(void **unused)
{
	static const struct {
		int metadata_status, keys_status;
		const char *metadata, *keys, *says;
	} cases[] = {
		{404, 0, "", NULL, "answered 404 where its OpenID configuration should be"},
		{302, 0, "", NULL, "answered 302"},
		{0, 0, "<html>", NULL, "configuration is damaged"},
		{0, 0, "{\"issuer\":\"https://other\"}", NULL, "calls itself 'https://other'"},
		{0, 503, NULL, "", "answered 503 where its keys should be"},
		{0, 0, NULL, "{}", "key set is damaged"},
	};
	unsigned calls = 0;

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		give.metadata_status = cases[i].metadata_status;
		give.keys_status = cases[i].keys_status;
		give.metadata = cases[i].metadata;
		give.keys = cases[i].keys;
		verify(&key);
		wait_for(++calls);
		expect(OIDC_UNREACHABLE, cases[i].says);
		assert_non_null(strstr(got.sentence, issuer));
	}
	memset(&give, 0, sizeof(give)); /* the next call tries again */
	verify(&key);
	wait_for(++calls);
	expect(0, "");
}

struct answer {
	int status;
	const char *body;
	int error;
	const char *says;
};

static void test_token_answers(void **unused)
{
	static const struct answer cases[] = {
		{200, "{}", OIDC_REFUSED, "no ID token: is 'openid' among the scopes"},
		{200, "<html>", OIDC_REFUSED, "no ID token"},
		{200, "{\"id_token\":\"a.b.c\"}", OIDC_REFUSED, "header is damaged"},
		{400, "{\"error\":\"invalid_grant\",\"error_description\":\"it is over\"}",
		 OIDC_REFUSED, "(it is over): log in again"},
		{400, "{\"error\":\"invalid_grant\",\"error_description\":\"\\u001b[2J\"}",
		 OIDC_REFUSED, "(invalid_grant)"},
		{401, "{\"error\":\"invalid_client\"}", OIDC_REFUSED, "client 'culvert'"},
		{400, "{\"error\":\"unauthorized_client\"}", OIDC_UNSUPPORTED, "culvert"},
		{400, "{\"error\":\"unsupported_grant_type\"}", OIDC_UNSUPPORTED, "culvert"},
		{400, "{\"error\":\"access_denied\"}", OIDC_CANCELLED, "refused"},
		{400, "{\"error\":\"invalid_scope\"}", OIDC_REFUSED, "(invalid_scope)"},
		{400, "rubbish", OIDC_UNREACHABLE, "answered 400"},
		{302, "", OIDC_UNREACHABLE, "answered 302"},
		{429, "{\"error\":\"x\"}", OIDC_UNREACHABLE, "answered 429"},
		{500, "{\"error\":\"invalid_grant\"}", OIDC_UNREACHABLE, "try again later"},
	};
	unsigned calls = 0;

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		give.token_status = cases[i].status;
		give.token = cases[i].body;
		assert_int_equal(oidc_refresh(oidc, "first", on_got, NULL, NULL), 0);
		wait_for(++calls);
		expect(cases[i].error, cases[i].says);
		assert_false(got.tokens);
	}
	memset(&give, 0, sizeof(give));
	assert_int_equal(oidc_refresh(oidc, "first", on_got, NULL, NULL), 0);
	wait_for(++calls);
	expect(0, "");
	assert_string_equal(got.refresh, "next");
	/* Tokens by a key that cannot be had: what they cost is not lost. */
	give.keys_status = 500;
	oidc->asked_at -= OIDC_KEYS_EVERY_S * NSEC_PER_SEC;
	assert_int_equal(oidc_refresh(oidc, "odd", on_got, NULL, NULL), 0);
	wait_for(++calls);
	expect(OIDC_UNREACHABLE, "where its keys should be");
	assert_string_equal(got.refresh, "next");
}

static void test_device_answers(void **unused)
{
	static const struct answer cases[] = {
		{400, "{\"error\":\"unauthorized_client\"}", OIDC_UNSUPPORTED, "culvert"},
		{400, "{\"error\":\"invalid_request\"}", OIDC_UNSUPPORTED, "culvert"},
		{200, "{}", OIDC_UNREACHABLE, "no usable code"},
		{200,
		 "{\"device_code\":\"d\",\"user_code\":\"A\\u001b[2J\",\"verification_uri\":"
		 "\"https://a/\"}",
		 OIDC_UNREACHABLE, "no usable code"},
		{200,
		 "{\"device_code\":\"d\",\"user_code\":\"A\",\"verification_uri\":"
		 "\"javascript:alert(1)\"}",
		 OIDC_UNREACHABLE, "no usable code"},
	};
	unsigned calls = 0;

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		give.device_status = cases[i].status;
		give.device = cases[i].body;
		assert_int_equal(oidc_device(oidc, on_show, on_got, NULL, NULL), 0);
		wait_for(++calls);
		expect(cases[i].error, cases[i].says);
		assert_int_equal(got.shows, 0);
	}
	memset(&give, 0, sizeof(give));
	give.metadata = NULL;
	assert_int_equal(oidc_device(oidc, on_show, on_got, NULL, NULL), 0);
	wait_for(++calls);
	expect(0, "");
	assert_int_equal(got.shows, 1);
}

static void test_url(void **unused)
{
	struct oidc_flow flow;
	char wanted[512];

	(void)unused;
	assert_int_equal(oidc_begin(oidc, "http://127.0.0.1:1/a b", &flow, on_url, NULL, NULL), 0);
	wait_for(1);
	assert_int_equal(strlen(flow.state), 43);
	assert_int_equal(strlen(flow.verifier), 43);
	snprintf(wanted, sizeof(wanted),
		 "%s/"
		 "auth?x=y&response_type=code&client_id=culvert&redirect_uri=http%%3A%%2F%%2F127.0."
		 "0.1%%3A1%%2Fa%%20b&scope=openid%%20profile%%20email%%20offline_access&prompt="
		 "consent&state=%s&nonce=%s&code_challenge=",
		 issuer, flow.state, flow.nonce);
	assert_memory_equal(got.url, wanted, strlen(wanted));
	assert_null(strstr(got.url, flow.verifier));
}

/* --- ends --------------------------------------------------------------------------------------------------- */

static struct oidc_call *call;

static void free_all(void *arg, int error, const struct oidc_identity *who, const struct error *e)
{
	(void)arg;
	(void)who;
	oidc_free(oidc);
	oidc = NULL;
	note(error, e);
}

static void free_shown(void *arg, const char *uri, const char *code, const char *complete)
{
	(void)arg;
	(void)uri;
	(void)code;
	(void)complete;
	got.shows++;
	oidc_free(oidc);
	oidc = NULL;
	event_base_loopbreak(base);
}

static void cancel_shown(void *arg, const char *uri, const char *code, const char *complete)
{
	(void)arg;
	(void)uri;
	(void)code;
	(void)complete;
	got.shows++;
	oidc_cancel(call);
	event_base_loopbreak(base);
}

static void test_ends(void **unused)
{
	struct oidc_flow flow;
	char *t = token_by(&key);

	(void)unused;
	assert_int_equal(oidc_verify(oidc, t, NULL, free_all, NULL, NULL), 0);
	verify(&key);
	assert_int_equal(oidc_refresh(oidc, "first", on_got, NULL, NULL), 0);
	assert_int_equal(oidc_begin(oidc, "x", &flow, on_url, NULL, NULL), 0);
	while (oidc)
		event_base_dispatch(base);
	event_base_loop(base, EVLOOP_NONBLOCK);

	oidc = make(false);
	assert_int_equal(oidc_device(oidc, free_shown, on_got, NULL, NULL), 0);
	while (oidc)
		event_base_dispatch(base);

	oidc = make(false);
	assert_int_equal(oidc_device(oidc, cancel_shown, on_got, NULL, &call), 0);
	while (got.shows < 2)
		event_base_dispatch(base);
	/* Cancelled at every step of its way. */
	for (int steps = 0; steps < 12; steps++) {
		oidc_free(oidc);
		oidc = make(false);
		assert_int_equal(oidc_verify(oidc, t, NULL, on_verified, NULL, &call), 0);
		got.calls = 0;
		for (int i = 0; i < steps && !got.calls; i++)
			event_base_loop(base, EVLOOP_ONCE);
		if (!got.calls)
			oidc_cancel(call);
	}
	free(t);
}

static void test_too_many(void **unused)
{
	char *t = token_by(&key);

	(void)unused;
	for (int i = 0; i < OIDC_CALLS; i++)
		assert_int_equal(oidc_verify(oidc, t, NULL, on_verified, NULL, NULL), 0);
	assert_int_equal(oidc_verify(oidc, t, NULL, on_verified, NULL, NULL), -EBUSY);
	wait_for(OIDC_CALLS);
	assert_int_equal(oidc_verify(oidc, t, NULL, on_verified, NULL, NULL), 0);
	free(t);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_asked_once), CASE(test_unknown_keys),	 CASE(test_old_words),
		CASE(test_bad_words),  CASE(test_token_answers), CASE(test_device_answers),
		CASE(test_url),	       CASE(test_ends),		 CASE(test_too_many),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
