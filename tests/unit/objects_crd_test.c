/* SPDX-License-Identifier: Apache-2.0 */
/* objects: Session and Intercept as JSON and back, times, and what is refused. */
#include <errno.h>

#include "objects_data.h"

#define KEY "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff"

static struct error err;

static const struct intercept cart = {
	.name = "Cart_v2.x",
	.kind = KIND_STATEFULSET,
	.workload = "cart",
	.ns = "shop",
	.service = "cart-web",
	.nports = 2,
	.port = {{.local = 3000, .name = "http", .port = 80, .target = 8080},
		 {.local = 5353, .port = 80, .target = 5353, .udp = true}},
	.on_down = ON_DOWN_HOLD,
	.hold_s = 45,
};

/* What the API server adds. */
static void admit(json_t *object, const char *name)
{
	json_t *meta = json_object_get(object, "metadata");

	json_object_set_new(meta, "name", json_string(name));
	json_object_set_new(meta, "uid", json_string("5d0b6a1e-0000-4000-8000-000000000001"));
	json_object_set_new(meta, "resourceVersion", json_string("1234"));
	json_object_set_new(meta, "creationTimestamp", json_string("2026-11-23T05:00:00Z"));
}

static void test_session(void **unused)
{
	struct session_object s;
	uint8_t key[32];
	json_t *j;

	(void)unused;
	for (unsigned i = 0; i < 32; i++)
		key[i] = (uint8_t)i;
	key[31] = 0xff;
	j = session_to_object("ana@example.org", "laptop\n3", key);
	assert_string_equal(object_text(j, "metadata", "name", NULL), KEY);
	assert_string_equal(object_text(j, "spec", "publicKey", NULL), KEY);
	admit(j, KEY);
	assert_int_equal(session_from_object(&s, j, &err), 0);
	assert_string_equal(s.name, KEY);
	assert_memory_equal(s.key, key, 32);
	assert_string_equal(s.user, "ana@example.org");
	assert_string_equal(s.client, "laptop 3");
	assert_int_equal(s.created, 1795410000);
	assert_int_equal(s.renewed, s.created);
	assert_false(s.deleting);

	json_object_set_new(json_object_get(j, "spec"), "renewTime",
			    json_string("2026-11-23T07:00:00.250+01:00"));
	json_object_set_new(json_object_get(j, "metadata"), "deletionTimestamp",
			    json_string("2026-11-23T06:00:01Z"));
	json_object_set_new(j, "status",
			    data_text("{\"phase\":\"Connected\",\"address\":\"198.18.0.2\"}"));
	assert_int_equal(session_from_object(&s, j, &err), 0);
	assert_int_equal(s.renewed, s.created + 3600);
	assert_true(s.deleting);
	assert_string_equal(s.phase, "Connected");
	assert_string_equal(s.address, "198.18.0.2");
	json_decref(j);
}

/* Changes one member of a good object; the reader must say why it is none. */
static void refuse(json_t *j, const char *where, const char *key, json_t *value,
		   const char *sentence)
{
	json_t *part = *where ? json_object_get(j, where) : j;
	struct session_object s;
	struct intercept_object o;
	int r;

	if (value)
		json_object_set_new(part, key, value);
	else
		json_object_del(part, key);
	err.text[0] = '\0';
	if (!strcmp(object_text(j, "kind", NULL), "Session"))
		r = session_from_object(&s, j, &err);
	else
		r = intercept_from_object(&o, j, &err);
	assert_int_equal(r, -EINVAL);
	if (!strstr(err.text, sentence))
		fail_msg("'%s' is not in: %s", sentence, err.text);
	json_decref(j);
}

static json_t *good_session(void)
{
	static const uint8_t key[32] = {1};
	json_t *j = session_to_object("ana", "l", key);

	admit(j, object_text(j, "spec", "publicKey", NULL));
	return j;
}

static void test_no_session(void **unused)
{
	char long_name[USER_NAME_MAX + 2];

	(void)unused;
	memset(long_name, 'a', sizeof(long_name));
	long_name[USER_NAME_MAX + 1] = '\0';
	refuse(good_session(), "spec", "user", NULL, "'user' must be text");
	refuse(good_session(), "spec", "user", json_string(""), "'user' must be text");
	refuse(good_session(), "spec", "user", json_string("a\x1b[2J"), "control character");
	refuse(good_session(), "spec", "user", json_stringn("a\0b", 3), "'user' must be text");
	refuse(good_session(), "spec", "user", json_string(long_name), "1 to 253 bytes");
	refuse(good_session(), "spec", "publicKey", json_string("00"), "64 hex digits");
	refuse(good_session(), "spec", "publicKey", json_string(KEY), "name is not its public key");
	refuse(good_session(), "spec", "renewTime", json_string("soon"), "'renewTime' is no time");
	refuse(good_session(), "metadata", "uid", json_integer(1), "'uid' must be text");
	refuse(good_session(), "metadata", "creationTimestamp", NULL, "is no time");
	refuse(good_session(), "", "apiVersion", json_string("culvert.dev/v2"),
	       "it is of API version culvert.dev/v2, and this culvert speaks culvert.dev/v1alpha1");
	refuse(good_session(), "", "metadata", NULL, "'name' must be");
	refuse(good_session(), "", "spec", json_array(), "'user' must be");
}

static json_t *good_intercept(void)
{
	json_t *j = intercept_to_object(&cart, "https://sso/#ana 100%", KEY, "uid-1");

	admit(j, "cart-v2-x-8k2lq");
	return j;
}

static void test_intercept(void **unused)
{
	struct intercept_object o;
	json_t *j = good_intercept();
	const json_t *owners = object_get(j, "metadata", "ownerReferences", NULL);

	(void)unused;
	assert_string_equal(object_text(j, "metadata", "generateName", NULL), "cart-v2-x-");
	assert_string_equal(object_text(j, "metadata", "namespace", NULL), "shop");
	assert_string_equal(object_text(j, "metadata", "labels", "culvert.dev/name", NULL),
			    "Cart_v2.x");
	assert_int_equal(json_array_size(owners), 1);
	assert_string_equal(object_text(json_array_get(owners, 0), "name", NULL), KEY);
	assert_string_equal(object_text(json_array_get(owners, 0), "uid", NULL), "uid-1");
	assert_string_equal(object_text(j, "spec", "workloadKind", NULL), "StatefulSet");

	assert_int_equal(intercept_from_object(&o, j, &err), 0);
	assert_string_equal(o.object, "cart-v2-x-8k2lq");
	assert_string_equal(o.user, "https://sso/#ana 100%");
	assert_string_equal(o.in.owner, "https:%2F%2Fsso%2F#ana%20100%25");
	assert_string_equal(o.session, KEY);
	assert_string_equal(o.in.name, cart.name);
	assert_int_equal(o.in.kind, KIND_STATEFULSET);
	assert_string_equal(o.in.workload, "cart");
	assert_string_equal(o.in.ns, "shop");
	assert_string_equal(o.in.service, "cart-web");
	assert_int_equal(o.in.nports, 2);
	assert_memory_equal(o.in.port, cart.port, sizeof(cart.port));
	assert_int_equal(o.in.on_down, ON_DOWN_HOLD);
	assert_int_equal(o.in.hold_s, 45);
	assert_int_equal(o.in.created, 1795410000);

	/* What a manager gave out is found again; a port's protocol tells two of one number apart. */
	json_object_set_new(
		j, "status",
		data_text("{\"phase\":\"Active\",\"message\":\"a\\nb\",\"ports\":["
			  "{\"port\":80,\"protocol\":\"UDP\",\"intake\":4001},"
			  "{\"port\":80,\"protocol\":\"TCP\",\"intake\":4000},"
			  "{\"port\":81,\"intake\":4002},{\"port\":80,\"intake\":0},7]}"));
	assert_int_equal(intercept_from_object(&o, j, &err), 0);
	assert_int_equal(o.in.port[0].overlay, 4000);
	assert_int_equal(o.in.port[1].overlay, 4001);
	assert_string_equal(o.phase, "Active");
	assert_string_equal(o.message, "a b");
	json_decref(j);
}

static void test_on_down(void **unused)
{
	struct intercept_object o;
	json_t *j = good_intercept(), *spec = json_object_get(j, "spec");

	(void)unused;
	json_object_set_new(spec, "onDown", json_string("fail"));
	json_object_del(spec, "holdSeconds");
	assert_int_equal(intercept_from_object(&o, j, &err), 0);
	assert_int_equal(o.in.on_down, ON_DOWN_FAIL);
	assert_int_equal(o.in.hold_s, 0);
	json_object_del(spec, "onDown");
	assert_int_equal(intercept_from_object(&o, j, &err), 0);
	assert_int_equal(o.in.on_down, ON_DOWN_POD);
	json_decref(j);
}

/* The same on machines whose char is signed and on those where it is not: laptop and manager compare such names. */
static void test_foreign_owners(void **unused)
{
	struct intercept_object o;
	json_t *j = intercept_to_object(&cart, "jos\xc3\xa9", KEY, "u");

	(void)unused;
	admit(j, "cart-1");
	assert_int_equal(intercept_from_object(&o, j, &err), 0);
	assert_string_equal(o.in.owner, "jos%C3%A9");
	json_decref(j);
}

/* Two users never become one owner, however long their names. */
static void test_long_owners(void **unused)
{
	char a[USER_NAME_MAX + 1], b[USER_NAME_MAX + 1], laptop[USER_NAME_MAX + 8];
	struct intercept_object oa, ob;
	json_t *ja, *jb;

	(void)unused;
	memset(a, 'a', USER_NAME_MAX);
	a[USER_NAME_MAX] = '\0';
	memcpy(b, a, sizeof(b));
	b[USER_NAME_MAX - 1] = 'b';
	ja = intercept_to_object(&cart, a, KEY, "u");
	jb = intercept_to_object(&cart, b, KEY, "u");
	admit(ja, "cart-1");
	admit(jb, "cart-2");
	assert_int_equal(intercept_from_object(&oa, ja, &err), 0);
	assert_int_equal(intercept_from_object(&ob, jb, &err), 0);
	assert_string_not_equal(oa.in.owner, ob.in.owner);
	assert_true(strlen(oa.in.owner) <= INTERCEPT_NAME_MAX);
	strcat(strcpy(laptop, a), "@box");
	owner_name(oa.in.owner, laptop);
	assert_true(strlen(oa.in.owner) <= INTERCEPT_NAME_MAX);
	assert_string_not_equal(oa.in.owner, ob.in.owner);
	owner_name(oa.in.owner, "https://sso/#jos\xc3\xa9@box");
	assert_string_equal(oa.in.owner, "https:%2F%2Fsso%2F#jos%C3%A9@box");
	json_decref(ja);
	json_decref(jb);
}

static void test_long_name(void **unused)
{
	struct intercept i = cart;
	struct intercept_object o;
	json_t *j;

	(void)unused;
	memset(i.name, 'x', INTERCEPT_NAME_MAX);
	i.name[INTERCEPT_NAME_MAX] = '\0';
	i.name[60] = i.name[61] = i.name[62] = '.';
	j = intercept_to_object(&i, "ana", KEY, "u");
	assert_int_equal(strlen(object_text(j, "metadata", "labels", "culvert.dev/name", NULL)),
			 60);
	assert_true(strlen(object_text(j, "metadata", "generateName", NULL)) <= K8S_NAME_MAX);
	admit(j, "x-1");
	assert_int_equal(intercept_from_object(&o, j, &err), 0);
	assert_string_equal(o.in.name, i.name);
	json_decref(j);
}

static void test_no_intercept(void **unused)
{
	(void)unused;
	refuse(good_intercept(), "spec", "session", json_string("me"), "'session' must be");
	refuse(good_intercept(), "spec", "name", json_string("a b"), "'name' must consist");
	refuse(good_intercept(), "spec", "workloadKind", json_string("Host"),
	       "'workloadKind' must");
	refuse(good_intercept(), "spec", "workload", json_string("a/b"), "'workload' must consist");
	refuse(good_intercept(), "spec", "service", NULL, "'service' must be");
	refuse(good_intercept(), "spec", "mechanism", json_string("sctp"),
	       "'mechanism' must be tcp or http");
	refuse(good_intercept(), "spec", "onDown", json_string("up"), "'onDown' must be");
	refuse(good_intercept(), "spec", "holdSeconds", json_integer(86401), "'holdSeconds' must");
	refuse(good_intercept(), "spec", "ports", json_array(),
	       "'ports' must be a list of 1 to 16");
	refuse(good_intercept(), "spec", "ports", data_text("[{\"local\":1,\"port\":2}]"),
	       "'target' must be a port");
	refuse(good_intercept(), "spec", "ports",
	       data_text("[{\"local\":1,\"port\":2,\"target\":3,\"protocol\":\"SCTP\"}]"),
	       "'protocol' must be TCP or UDP");
	refuse(good_intercept(), "spec", "ports",
	       data_text("[{\"local\":1,\"port\":2,\"target\":3},{\"local\":2,\"port\":9,"
			 "\"target\":3}]"),
	       "names port 3 of the pod twice");
	refuse(good_intercept(), "metadata", "namespace", NULL, "'namespace' must be");
}

/* --- http --- */

static const struct intercept web = {
	.name = "cart",
	.kind = KIND_DEPLOYMENT,
	.workload = "cart",
	.ns = "shop",
	.service = "cart",
	.nports = 1,
	.port = {{.local = 3000, .name = "http", .port = 80, .target = 8080}},
	.mechanism = MECHANISM_HTTP,
	.id = "2f6c00112233445566778899aabbccdd",
	.match = {.mode = HTTP_MATCH_HEADERS,
		  .nconditions = 2,
		  .condition = {{"x-user", "ana|bob"}, {"host", "shop\\.example(:\\d+)?"}},
		  .path = "/api"},
	.tag_responses = true,
};

static json_t *web_object(const struct intercept *i)
{
	json_t *j = intercept_to_object(i, "ana", KEY, "uid-1");

	admit(j, "cart-8k2lq");
	return j;
}

static json_t *good_web(void)
{
	return web_object(&web);
}

static void test_http(void **unused)
{
	struct intercept automatic = web;
	struct intercept_object o;
	json_t *j = good_web();

	(void)unused;
	assert_string_equal(object_text(j, "spec", "mechanism", NULL), "http");
	assert_string_equal(object_text(j, "spec", "match", "pathPrefix", NULL), "/api");
	assert_null(object_get(j, "spec", "match", "path", NULL));
	assert_int_equal(intercept_from_object(&o, j, &err), 0);
	assert_int_equal(o.in.mechanism, MECHANISM_HTTP);
	assert_string_equal(o.in.id, web.id);
	assert_memory_equal(&o.in.match, &web.match, sizeof(web.match));
	assert_true(o.in.tag_responses);
	assert_false(o.in.preview);
	json_object_set_new(j, "status",
			    data_text("{\"preview\":{\"url\":\"https://2f.preview.example/"
				      "\"},\"phase\":\"Active\"}"));
	assert_int_equal(intercept_from_object(&o, j, &err), 0);
	assert_true(o.in.preview);
	assert_string_equal(o.preview_url, "https://2f.preview.example/");
	json_decref(j);

	automatic.match = (struct http_match){.mode = HTTP_MATCH_AUTO};
	automatic.tag_responses = false;
	j = web_object(&automatic);
	assert_null(object_get(j, "spec", "tagResponses", NULL));
	assert_null(object_get(j, "spec", "match", "conditions", NULL));
	assert_int_equal(intercept_from_object(&o, j, &err), 0);
	assert_int_equal(o.in.match.mode, HTTP_MATCH_AUTO);
	json_decref(j);
}

static void refuse_match(const char *match, const char *sentence)
{
	refuse(good_web(), "spec", "match", data_text(match), sentence);
}

static void test_no_http(void **unused)
{
	json_t *j = good_web();

	(void)unused;
	json_object_set_new(json_array_get(object_get(j, "spec", "ports", NULL), 0), "protocol",
			    json_string("UDP"));
	refuse(j, "", "kind", json_string("Intercept"), "port 80 is UDP");
	refuse(good_web(), "spec", "id", NULL, "'id' must be 32 hex digits");
	refuse(good_web(), "spec", "id", json_string("2F6C00112233445566778899AABBCCDD"),
	       "'id' must be 32 hex digits");
	refuse(good_web(), "spec", "match", NULL, "'match': 'mode' has no known value");
	refuse(good_web(), "spec", "mechanism", json_string("tcp"),
	       "'id' is for 'mechanism' http alone");
	refuse(good_intercept(), "spec", "tagResponses", json_false(),
	       "'tagResponses' is for 'mechanism' http alone");
	refuse_match("{\"mode\":\"headers\"}", "1 to 8 conditions");
	refuse_match("{\"mode\":\"all\",\"conditions\":[{\"name\":\"a\",\"pattern\":\"b\"}]}",
		     "1 to 8 conditions");
	refuse_match(
		"{\"mode\":\"headers\",\"conditions\":[{\"name\":\"X-User\",\"pattern\":\"b\"}]}",
		"'X-User' is no header's name in lower case");
	refuse_match("{\"mode\":\"headers\",\"conditions\":[{\"name\":\"x-user\",\"pattern\":\"("
		     "ana\"}]}",
		     "Intercept cart-8k2lq: the regular expression for header x-user is wrong at "
		     "column 5: missing closing parenthesis");
	refuse_match("{\"mode\":\"auto\",\"pathPrefix\":\"api\"}", "must begin with '/'");
	refuse_match("{\"mode\":\"auto\",\"pathPrefix\":7}", "'path' must be text");
}

static void is_time(const char *text, int64_t when, const char *back)
{
	char again[21];
	int64_t got;

	if (object_time(text, &got))
		fail_msg("%s is refused", text);
	assert_int_equal(got, when);
	object_time_format(got, again);
	assert_string_equal(again, back ? back : text);
}

static void test_time(void **unused)
{
	static const char *const none[] = {
		"",
		"2026",
		"2026-11-23",
		"2026-11-23T05:00:00",
		"2026-11-23 05:00:00Z",
		"2026-13-01T05:00:00Z",
		"2026-02-29T05:00:00Z",
		"2026-02-30T05:00:00Z",
		"2026-11-00T05:00:00Z",
		"2026-11-23T24:00:00Z",
		"2026-11-23T05:60:00Z",
		"2026-11-23T05:00:60Z",
		"2026-11-23T05:00:00.Z",
		"2026-11-23T05:00:00+0100",
		"2026-11-23T05:00:00+24:00",
		"2026-11-23T05:00:00Zx",
		"2026-11-23T 5:00:00Z",
	};
	char text[21];
	int64_t t;

	(void)unused;
	is_time("1970-01-01T00:00:00Z", 0, NULL);
	is_time("2026-11-23T05:00:00Z", 1795410000, NULL);
	is_time("2024-02-29T23:59:59Z", 1709251199, NULL);
	is_time("2026-11-23T05:00:00.123456789Z", 1795410000, "2026-11-23T05:00:00Z");
	is_time("2026-11-23T01:30:00-03:30", 1795410000, "2026-11-23T05:00:00Z");
	for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
		if (object_time(none[i], &t) == 0)
			fail_msg("%s is taken", none[i]);
	}
	object_time_format(INT64_MAX, text);
	assert_string_equal(text, "9999-12-31T23:59:59Z");
	object_time_format(INT64_MIN, text);
	assert_string_equal(text, "1000-01-01T00:00:00Z");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_session),	       cmocka_unit_test(test_no_session),
		cmocka_unit_test(test_intercept),      cmocka_unit_test(test_on_down),
		cmocka_unit_test(test_foreign_owners), cmocka_unit_test(test_long_owners),
		cmocka_unit_test(test_long_name),      cmocka_unit_test(test_no_intercept),
		cmocka_unit_test(test_time),	       cmocka_unit_test(test_http),
		cmocka_unit_test(test_no_http),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
