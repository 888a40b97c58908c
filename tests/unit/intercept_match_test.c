/* SPDX-License-Identifier: Apache-2.0 */
/* intercept: which requests are meant (docs/http.md): flags, clashes, precedence, and heads that match or do not. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "intercept/intercept.h"

#define ID    "2f6c00112233445566778899aabbccdd"
#define OTHER "00000000000000000000000000000000"

static struct error err;

static void says(const char *sentence)
{
	if (!strstr(err.text, sentence))
		fail_msg("'%s' is not in: %s", sentence, err.text);
}

/* --- flags ---------------------------------------------------------------------------------------------- */

static void test_flags(void **unused)
{
	struct http_match m = {.nconditions = 0};
	bool given = false;

	(void)unused;
	assert_int_equal(http_match_parse(&m, &given, "X-User=ana|bob", &err), 0);
	assert_true(given);
	assert_int_equal(http_match_parse(&m, &given, "cookie=.*a=b.*", &err), 0);
	assert_int_equal(http_match_parse(&m, &given, "x-user=ana|bob", &err), 0); /* twice */
	assert_int_equal(http_path_parse(&m, "/api/\xc3\xa9", &err), 0);
	assert_int_equal(m.mode, HTTP_MATCH_HEADERS);
	assert_int_equal(m.nconditions, 2);
	assert_string_equal(m.condition[0].name, "x-user");
	assert_string_equal(m.condition[1].pattern, ".*a=b.*");
	assert_int_equal(http_match_check(&m, &err), 0);
	assert_int_equal(http_match_parse(&m, &given, "auto", &err), -EINVAL);
	says("--http-match auto stands alone");

	m = (struct http_match){.nconditions = 0};
	given = false;
	assert_int_equal(http_match_parse(&m, &given, "all", &err), 0);
	assert_int_equal(http_match_parse(&m, &given, "all", &err), 0);
	assert_int_equal(http_match_parse(&m, &given, "auto", &err), -EINVAL);
	assert_int_equal(http_match_parse(&m, &given, "a=b", &err), -EINVAL);
	says("--http-match all stands alone");
	assert_int_equal(m.mode, HTTP_MATCH_ALL);
	assert_int_equal(m.nconditions, 0);
}

static void refuse(const char *flag, const char *sentence)
{
	struct http_match m = {.nconditions = 0};
	bool given = false;

	err.text[0] = '\0';
	if (http_match_parse(&m, &given, flag, &err) != -EINVAL)
		fail_msg("'%s' is taken", flag);
	assert_false(given);
	says(sentence);
}

static void test_bad_flags(void **unused)
{
	char text[HTTP_PATTERN_MAX + 32], path[HTTP_PATH_MAX + 2];
	struct http_match m = {.nconditions = 0};
	bool given = false;

	(void)unused;
	refuse("Auto", "write auto, all, or HEADER=REGEX");
	refuse("=x", "write auto, all, or HEADER=REGEX");
	refuse("x user=x", "write auto, all, or HEADER=REGEX");
	refuse("x-user:=x", "write auto, all, or HEADER=REGEX");
	refuse("", "write auto, all, or HEADER=REGEX");
	refuse("x-user=", "the regular expression for header x-user is empty; ^$ means");
	refuse("x-user=(ana", "header x-user is wrong at column 5: missing closing parenthesis");
	refuse("x-user=a**+?{", "is wrong at column");
	refuse("x-user=\\C", "is wrong at column 3");
	refuse("x-user=(*UTF)a", "is wrong at column");
	refuse("x-user=a\nb", "control character");
	refuse("x-user=\xff", "no UTF-8");
	refuse("x-user=([ab]c){1,999}", "are allowed; repeat less");
	refuse("x-user=(([ab]c){1,99}){1,99}", "regular expression is too large");
	snprintf(text, sizeof(text), "x-user=%0*d", HTTP_PATTERN_MAX + 1, 0);
	refuse(text, "longer than 512 bytes");
	for (int i = 0; i < HTTP_CONDITIONS; i++) {
		snprintf(text, sizeof(text), "h%d=x", i);
		assert_int_equal(http_match_parse(&m, &given, text, &err), 0);
	}
	assert_int_equal(http_match_parse(&m, &given, "h9=x", &err), -EINVAL);
	says("at most 8 headers");

	memset(path, '/', sizeof(path));
	path[HTTP_PATH_MAX + 1] = '\0';
	assert_int_equal(http_path_parse(&m, path, &err), -EINVAL);
	path[HTTP_PATH_MAX] = '\0';
	assert_int_equal(http_path_parse(&m, path, &err), 0);
	assert_int_equal(http_path_parse(&m, "api", &err), -EINVAL);
	says("begins with '/'");
	assert_int_equal(http_path_parse(&m, "", &err), -EINVAL);
	assert_int_equal(http_path_parse(&m, "/a?b", &err), -EINVAL);
	assert_int_equal(http_path_parse(&m, "/a b", &err), -EINVAL);
}

static void test_together_they_have_a_bound(void **unused)
{
	struct http_match m = {.mode = HTTP_MATCH_HEADERS, .nconditions = 3};

	(void)unused;
	for (int i = 0; i < 3; i++) {
		snprintf(m.condition[i].name, sizeof(m.condition[i].name), "h%d", i);
		memset(m.condition[i].pattern, 'a', 400);
	}
	assert_int_equal(http_match_check(&m, &err), -EINVAL);
	says("more than 1024 bytes together");
	m.nconditions = 2;
	assert_int_equal(http_match_check(&m, &err), 0);
	m.mode = HTTP_MATCH_AUTO;
	assert_int_equal(http_match_check(&m, &err), -EINVAL);
}

/* Whose object says one condition eight times would go before all others, and clash with nobody. */
static void test_no_condition_counts_twice(void **unused)
{
	struct http_match m = {.mode = HTTP_MATCH_HEADERS, .nconditions = 3};

	(void)unused;
	m.condition[0] = m.condition[2] = (struct http_condition){"x-user", "ana"};
	m.condition[1] = (struct http_condition){"x-user", "an."};
	assert_int_equal(http_match_check(&m, &err), -EINVAL);
	says("for header x-user stands there twice");
	m.nconditions = 2;
	assert_int_equal(http_match_check(&m, &err), 0);
}

/* --- intercepts ------------------------------------------------------------------------------------------- */

/* "auto", "all", or headers separated by blanks; "tcp". */
static struct intercept make(const char *match, const char *path)
{
	struct intercept i = {.name = "hello", .owner = "ana", .nports = 1, .id = ID};
	char text[256], *save = NULL;
	bool given = false;

	i.port[0] = (struct intercept_port){.port = 80, .target = 8080, .local = 3000};
	if (!strcmp(match, "tcp"))
		return i;
	i.mechanism = MECHANISM_HTTP;
	snprintf(text, sizeof(text), "%s", match);
	for (char *t = strtok_r(text, " ", &save); t; t = strtok_r(NULL, " ", &save))
		assert_int_equal(http_match_parse(&i.match, &given, t, &err), 0);
	if (*path)
		assert_int_equal(http_path_parse(&i.match, path, &err), 0);
	return i;
}

static void test_clash(void **unused)
{
	static const struct {
		const char *a, *a_path, *b, *b_path;
		bool clash;
	} table[] = {
		{"tcp", "", "tcp", "", true},
		{"tcp", "", "auto", "", true},
		{"tcp", "", "x=a", "/api", true},
		{"all", "", "all", "", true},
		{"all", "", "auto", "", true},
		{"all", "", "x=a y=b", "/api", true},
		{"all", "/a", "all", "/b", false},
		{"all", "/a", "all", "/a/b", true},
		{"all", "/a", "all", "/ab", true}, /* byte by byte */
		{"all", "/a", "x=a", "/b", false},
		{"all", "/a", "x=a", "", true},
		{"auto", "", "x=a", "", false},
		{"x=a", "", "x=b", "", false}, /* another value of the same header */
		{"x=a", "", "X=a", "", true},
		{"x=a", "", "x=A", "", false},
		{"x=a", "", "y=a", "", false},
		{"x=a", "", "x=a y=b", "", true}, /* contained */
		{"x=a y=b", "", "y=b x=a", "", true},
		{"x=a y=b", "", "y=b z=c", "", false},
		{"x=a", "/api", "x=a", "/web", false},
		{"x=a", "/api", "x=a", "/api/v1", true},
		{"x=a", "/api", "x=a y=b", "", true},
		{"x=a", "/api/", "x=a", "/api", true},
	};

	(void)unused;
	for (size_t k = 0; k < ARRAY_SIZE(table); k++) {
		struct intercept a = make(table[k].a, table[k].a_path);
		struct intercept b = make(table[k].b, table[k].b_path);

		if (http_match_clash(&a, &b) != table[k].clash ||
		    http_match_clash(&b, &a) != table[k].clash)
			fail_msg("%s %s and %s %s", table[k].a, table[k].a_path, table[k].b,
				 table[k].b_path);
	}
}

static void test_auto_clashes_with_its_own_header_alone(void **unused)
{
	struct intercept a = make("auto", ""), b = make("auto", "");

	(void)unused;
	assert_true(http_match_clash(&a, &b));
	snprintf(b.id, sizeof(b.id), "%s", OTHER);
	assert_false(http_match_clash(&a, &b));
}

/* What takes the place of another may clash with nobody with whom that one did not. */
static void test_within(void **unused)
{
	static const char *const matches[] = {"tcp", "all", "auto", "x=a", "x=b", "x=a y=b"};
	static const char *const paths[] = {"", "/a", "/a/b", "/b"};
	enum { N = ARRAY_SIZE(matches) * ARRAY_SIZE(paths) };
	static struct intercept all[N];
	unsigned within = 0;

	(void)unused;
	for (unsigned i = 0; i < N; i++) {
		all[i] = make(matches[i / ARRAY_SIZE(paths)], paths[i % ARRAY_SIZE(paths)]);
		snprintf(all[i].id, sizeof(all[i].id), "%032u", i);
	}
	for (unsigned i = 0; i < N; i++) {
		for (unsigned k = 0; k < N; k++) {
			if (!http_match_within(&all[i], &all[k]))
				continue;
			within++;
			for (unsigned c = 0; c < N; c++)
				assert_true(c == i || c == k ||
					    !http_match_clash(&all[c], &all[i]) ||
					    http_match_clash(&all[c], &all[k]));
		}
		assert_true(http_match_within(&all[i], &all[i]));
	}
	assert_in_range(within, N + 1, N * N - 1);
}

static void test_order(void **unused)
{
	/* Each goes before all that follow. */
	struct intercept list[] = {
		make("x=a y=b z=c", ""), make("x=a y=b", "/long/path"),
		make("x=a y=b", "/p"),	 make("x=a", "/p"),
		make("auto", "/p"),	 make("auto", ""),
		make("x=a", ""),	 make("x=a", ""),
		make("all", "/p"),	 make("all", ""),
	};
	static const char *const uid[] = {"9", "8", "7", "6", "5", "4", "1", "2", "1", "0"};

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(list); i++)
		list[i].created = 10;
	list[3].created = 5; /* the older */
	list[5].created = 9;
	for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
		assert_int_equal(http_match_order(&list[i], uid[i], &list[i], uid[i]), 0);
		for (size_t k = i + 1; k < ARRAY_SIZE(list); k++) {
			if (http_match_order(&list[i], uid[i], &list[k], uid[k]) >= 0 ||
			    http_match_order(&list[k], uid[k], &list[i], uid[i]) <= 0)
				fail_msg("%zu does not go before %zu", i, k);
		}
	}
	/* Without uids the names decide: two managers come to the same. */
	snprintf(list[6].owner, sizeof(list[6].owner), "bob");
	assert_true(http_match_order(&list[6], "", &list[7], "") > 0);
}

static void test_check_names_holder_and_match(void **unused)
{
	struct intercept a = make("x-user=ana", ""), b = make("x-user=ana y=b", "/api"),
			 tcp = make("tcp", ""), other = make("x-user=bob", "");
	const struct intercept *one = &b;

	(void)unused;
	snprintf(b.owner, sizeof(b.owner), "bob@laptop");
	snprintf(b.name, sizeof(b.name), "dbg");
	assert_int_equal(intercept_check(&a, &one, 1, &err), INTERCEPT_CLASH);
	says("Port 80 of Deployment  is already intercepted by bob@laptop, as 'dbg', for "
	     "header(\"x-user\") ~= regexp(\"ana\") and header(\"y\") ~= regexp(\"b\") and "
	     "path-prefix(\"/api\"); ask bob@laptop to leave it, or take other requests: "
	     "--http-match, --http-path-prefix.");
	assert_int_equal(intercept_check(&tcp, &one, 1, &err), INTERCEPT_CLASH);
	says("or take some requests only: --http-match.");
	assert_int_equal(intercept_check(&other, &one, 1, &err), 0);
	one = &tcp;
	snprintf(tcp.owner, sizeof(tcp.owner), "bob@laptop");
	assert_int_equal(intercept_check(&a, &one, 1, &err), INTERCEPT_CLASH);
	says("as 'hello', for all TCP connections; ask bob@laptop to leave it.");
	snprintf(b.owner, sizeof(b.owner), "ana");
	one = &b;
	assert_int_equal(intercept_check(&a, &one, 1, &err), INTERCEPT_CLASH);
	says("by you, as 'dbg', for");
}

static void test_text(void **unused)
{
	struct intercept i = make("auto", "/api");
	char text[HTTP_MATCH_TEXT_LEN];

	(void)unused;
	http_match_text(text, sizeof(text), &i, "\n");
	assert_string_equal(text, "header(\"x-culvert-intercept-id\") ~= regexp(\"" ID
				  ":hello\")\npath-prefix(\"/api\")");
	i = make("all", "");
	http_match_text(text, sizeof(text), &i, "\n");
	assert_string_equal(text, "all HTTP requests");
	i = make("all", "/api");
	http_match_text(text, sizeof(text), &i, "\n");
	assert_string_equal(text, "path-prefix(\"/api\")");
	i = make("tcp", "");
	http_match_text(text, sizeof(text), &i, "\n");
	assert_string_equal(text, "all TCP connections");
	i.port[0].udp = true;
	http_match_text(text, sizeof(text), &i, "\n");
	assert_string_equal(text, "all UDP datagrams");
	http_match_text(text, 18, &i, "\n");
	assert_string_equal(text, "all UDP datagrams");
	http_match_text(text, 17, &i, "\n");
	assert_string_equal(text, "all UDP datag...");
	/* Between characters. */
	i = make("all", "/\xc3\xa9\xc3\xa9\xc3\xa9");
	http_match_text(text, 20, &i, "\n");
	assert_string_equal(text, "path-prefix(\"/\xc3\xa9...");
	http_match_text(text, 19, &i, "\n");
	assert_string_equal(text, "path-prefix(\"/...");
	http_match_text(text, sizeof(text), &i, "\n");
	assert_string_equal(text, "path-prefix(\"/\xc3\xa9\xc3\xa9\xc3\xa9\")");
}

/* --- heads ------------------------------------------------------------------------------------------------- */

static struct http_text bytes(const char *s)
{
	return (struct http_text){s, strlen(s)};
}

/* "NAME: VALUE" lines. */
static int ask(struct matcher *m, const char *target, const char *const *lines)
{
	struct http_field field[16];
	struct http_head head = {.method = bytes("GET"), .target = bytes(target), .field = field};

	for (; lines && *lines; lines++) {
		const char *colon = strchr(*lines, ':');
		struct http_field *f = &field[head.nfields++];

		*f = (struct http_field){.name = {*lines, (size_t)(colon - *lines)},
					 .value = bytes(colon + 2)};
	}
	return matcher_test(m, &head);
}

static int ask_one(struct matcher *m, const char *target, const char *line)
{
	const char *const lines[] = {"accept: */*", line, NULL};

	return ask(m, target, lines);
}

static struct matcher *matcher(const char *match, const char *path, bool preview)
{
	struct intercept i = make(match, path);
	struct matcher *m = NULL;

	assert_int_equal(matcher_new(&m, &i.match, i.id, i.name, preview, &err), 0);
	return m;
}

static void test_headers(void **unused)
{
	struct matcher *m = matcher("x-user=ana|bob y=.*", "", false);
	static const char *const both[] = {"X-USER: bob", "Y: ", NULL};
	static const char *const lines[] = {"x-user: eve", "x-user: ana", "y: 1", NULL};
	static const char *const joined[] = {"x-user: eve, ana", "y: 1", NULL};
	static const char *const part[] = {"x-user: anab", "y: 1", NULL};

	(void)unused;
	assert_int_equal(ask(m, "/", both), 1);
	assert_int_equal(ask(m, "/", lines), 1); /* each line by itself */
	assert_int_equal(ask(m, "/", joined), 0);
	assert_int_equal(ask(m, "/", part), 0); /* the whole value */
	assert_int_equal(ask_one(m, "/", "x-user: ana"), 0);
	assert_int_equal(ask_one(m, "/", "x-user-name: ana"), 0);
	assert_int_equal(ask_one(m, "/", "x-culvert-intercept-id: " ID ":hello"), 0);
	assert_int_equal(ask(m, "/", NULL), 0);
	matcher_free(m);
	/* An alternative that ends early, and a value that ends with a line: neither is a whole value. */
	m = matcher("x-user=a|ab", "", false);
	assert_int_equal(ask_one(m, "/", "x-user: ab"), 1);
	assert_int_equal(ask_one(m, "/", "x-user: a\n"), 0);
	assert_int_equal(ask_one(m, "/", "x-user: abc"), 0);
	matcher_free(m);
}

static void test_authority_is_host(void **unused)
{
	struct matcher *m = matcher("host=shop\\.example(:\\d+)?", "", false);
	struct http_head head = {.target = bytes("/"), .authority = bytes("shop.example:8080")};

	(void)unused;
	assert_int_equal(matcher_test(m, &head), 1);
	assert_int_equal(ask_one(m, "/", "Host: shop.example"), 1);
	assert_int_equal(ask_one(m, "/", "Host: shopxexample"), 0);
	matcher_free(m);
}

static void test_path(void **unused)
{
	struct matcher *m = matcher("all", "/api", false);
	static const struct {
		const char *target;
		int match;
	} table[] = {
		{"/api", 1},
		{"/api/v1?q=/x", 1},
		{"/apis", 1},
		{"/ap", 0},
		{"/API", 0},
		{"/v1?/api", 0},
		{"/ap?i", 0},
		{"http://h:80/api/x", 1},
		{"http://api/web", 0},
		{"http://h", 0},
		{"http://h?/api", 0},
		{"*", 0},
		{"", 0},
		{"//api", 0},
		{"api", 0},
	};

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (ask(m, table[i].target, NULL) != table[i].match)
			fail_msg("%s", table[i].target);
	}
	matcher_free(m);
	m = matcher("all", "", false);
	assert_int_equal(ask(m, "*", NULL), 1);
	matcher_free(m);
}

static void test_own_id(void **unused)
{
	struct matcher *m = matcher("auto", "/api", false), *none;
	static const char *const table[] = {
		"x-culvert-intercept-id: " ID ":hello",
		"X-Culvert-Intercept-Id: " ID ":hello",
		"baggage: culvert=" ID,
		"Baggage: a=b,culvert=" ID,
		"baggage: a=b;p=1 ,\tculvert = " ID " ;ttl=3, c=d",
		"baggage: culvert=" OTHER ",culvert=" ID,
	};
	static const char *const others[] = {
		"x-culvert-intercept-id: " ID,
		"x-culvert-intercept-id: " ID ":other",
		"x-culvert-intercept-id: " OTHER ":hello",
		"baggage: culvert=" OTHER,
		"baggage: xculvert=" ID,
		"baggage: a=b;culvert=" ID,
		"baggage: culvert=" ID "0",
		"baggage: CULVERT=" ID,
		"baggage: culvert",
		"baggage: ,;=,",
		"cookie: culvert=" ID,
		"baggage: ",
	};
	struct intercept i = make("auto", "");

	(void)unused;
	for (size_t k = 0; k < ARRAY_SIZE(table); k++) {
		if (ask_one(m, "/api", table[k]) != 1 || ask_one(m, "/web", table[k]) != 0)
			fail_msg("%s", table[k]);
	}
	for (size_t k = 0; k < ARRAY_SIZE(others); k++) {
		if (ask_one(m, "/api", others[k]))
			fail_msg("%s", others[k]);
	}
	matcher_free(m);
	/* Without an id nothing is its own, not even an empty value. */
	assert_int_equal(matcher_new(&none, &i.match, "", i.name, true, &err), 0);
	assert_int_equal(ask_one(none, "/", "x-culvert-intercept-id: :hello"), 0);
	assert_int_equal(ask_one(none, "/", "baggage: culvert="), 0);
	matcher_free(none);
}

static void test_preview_takes_its_id_too(void **unused)
{
	struct matcher *m = matcher("x-user=ana", "/api", true);

	(void)unused;
	assert_int_equal(ask_one(m, "/api", "x-user: ana"), 1);
	assert_int_equal(ask_one(m, "/api", "baggage: culvert=" ID), 1);
	assert_int_equal(ask_one(m, "/web", "baggage: culvert=" ID), 0);
	assert_int_equal(ask_one(m, "/api", "x-user: bob"), 0);
	matcher_free(m);
}

/* Exponential without a limit; bounded work with it, however long the value. */
static void test_limits(void **unused)
{
	static const char *const patterns[] = {"x=(a+)+$", "x=(a|a)*b", "x=(.*)*(.*)*(.*)*c",
					       "x=((((a*)*)*)*)*b", "x=(?R)?a|(a(?1)?b)*c"};
	enum { LEN = 60000 };
	char *line = malloc(LEN + 8);
	struct matcher *m;
	unsigned cut = 0;

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(patterns); i++) {
		snprintf(line, LEN + 8, "x: %0*d", LEN, 0);
		for (char *c = line + 3; *c; c++)
			*c = 'a';
		line[LEN + 1] = '!';
		m = matcher(patterns[i], "", false);
		cut += ask_one(m, "/", line) == -E2BIG;
		line[40] = '!';
		line[41] = '\0';
		cut += ask_one(m, "/", line) == -E2BIG;
		assert_int_not_equal(ask_one(m, "/", line), 1);
		matcher_free(m);
	}
	assert_in_range(cut, 6, 10);
	/* One that is cut off is no match, but another line may match; and a later condition says no. */
	m = matcher("x=(a+)+$ y=1", "", false);
	{
		const char *const yes[] = {line, "x: aaa", "y: 1", NULL};
		const char *const no[] = {line, "y: 2", NULL};
		const char *const limit[] = {line, "y: 1", NULL};

		assert_int_equal(ask(m, "/", yes), 1);
		assert_int_equal(ask(m, "/", no), 0);
		assert_int_equal(ask(m, "/", limit), -E2BIG);
	}
	matcher_free(m);
	free(line);
}

/* A head full of lines of one name, each just below the limit, would cost hundreds of them: the later ones get less. */
static void test_lines_share_the_limit(void **unused)
{
	struct matcher *m = matcher("x=(a+)+$", "", false);
	char value[] = "aaaaaaaaaaa!";
	struct http_field field[200];
	struct http_head head = {.target = bytes("/"), .field = field, .nfields = 1};

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(field); i++)
		field[i] = (struct http_field){.name = bytes("x"), .value = bytes(value)};
	assert_int_equal(matcher_test(m, &head), 0);
	head.nfields = ARRAY_SIZE(field);
	assert_int_equal(matcher_test(m, &head), -E2BIG);
	field[ARRAY_SIZE(field) - 1].value = bytes("aaa");
	assert_int_equal(matcher_test(m, &head), 1);
	matcher_free(m);
}

/* --- JSON --------------------------------------------------------------------------------------------------- */

static void test_json(void **unused)
{
	static const char *const matches[] = {"auto", "all", "x-user=an\"a|\\d{2}\xc3\xa9 y=b"};

	(void)unused;
	for (size_t k = 0; k < ARRAY_SIZE(matches); k++) {
		struct intercept i = make(matches[k], "/api"), again;
		json_t *j, *back;

		snprintf(i.workload, sizeof(i.workload), "hello");
		snprintf(i.ns, sizeof(i.ns), "default");
		snprintf(i.service, sizeof(i.service), "hello");
		i.tag_responses = k == 1;
		i.preview = k == 2;
		j = intercept_to_json(&i);
		assert_int_equal(intercept_from_json(&again, j, &err), 0);
		assert_memory_equal(&again.match, &i.match, sizeof(i.match));
		assert_string_equal(again.id, ID);
		assert_int_equal(again.tag_responses, k == 1);
		assert_int_equal(again.preview, k == 2);
		back = intercept_to_json(&again);
		assert_true(json_equal(j, back));
		json_decref(back);
		json_object_set_new(j, "id", json_string("x"));
		assert_int_equal(intercept_from_json(&again, j, &err), -EINVAL);
		json_object_set_new(j, "id", json_string(ID));
		json_object_del(j, "match");
		assert_int_equal(intercept_from_json(&again, j, &err), -EINVAL);
		says("'match'");
		/* One release older: no word of it. */
		json_object_del(j, "mechanism");
		json_object_del(j, "id");
		assert_int_equal(intercept_from_json(&again, j, &err), 0);
		assert_int_equal(again.mechanism, MECHANISM_TCP);
		json_decref(j);
	}
}

static void test_request_json(void **unused)
{
	struct intercept i = make("x-user=ana", "/api");
	struct intercept_request q = {.name = "hello", .mechanism = MECHANISM_HTTP}, again;
	json_t *j;

	(void)unused;
	q.match = i.match;
	q.tag_responses = true;
	j = intercept_request_to_json(&q);
	assert_int_equal(intercept_request_from_json(&again, j, &err), 0);
	assert_int_equal(again.mechanism, MECHANISM_HTTP);
	assert_memory_equal(&again.match, &q.match, sizeof(q.match));
	assert_true(again.tag_responses);
	json_object_set_new(
		json_array_get(json_object_get(json_object_get(j, "match"), "conditions"), 0),
		"pattern", json_string("["));
	assert_int_equal(intercept_request_from_json(&again, j, &err), -ENOTSUP);
	says("wrong at column 2");
	json_object_set_new(j, "mechanism", json_string("quic"));
	assert_int_equal(intercept_request_from_json(&again, j, &err), -EINVAL);
	json_decref(j);
}

static void test_udp_has_no_requests(void **unused)
{
	static const struct workload dns = {
		.kind = KIND_DEPLOYMENT,
		.name = "dns",
		.ns = "default",
		.nservices = 1,
		.service = {{.name = "dns",
			     .nports = 1,
			     .port = {{.port = 53, .target = 53, .udp = true}}}},
	};
	const struct workload *all = &dns;
	struct intercept_request q = {.name = "dns", .mechanism = MECHANISM_HTTP};
	struct intercept i;

	(void)unused;
	assert_int_equal(intercept_resolve(&i, &q, &all, 1, "default", &err), INTERCEPT_INVALID);
	says("--mechanism=tcp");
	q.mechanism = MECHANISM_TCP;
	assert_int_equal(intercept_resolve(&i, &q, &all, 1, "default", &err), 0);
}

static void test_ids(void **unused)
{
	char a[HTTP_ID_LEN + 1], b[HTTP_ID_LEN + 1];

	(void)unused;
	http_id_make(a);
	http_id_make(b);
	assert_true(http_id_valid(a) && http_id_valid(b));
	assert_string_not_equal(a, b);
	assert_false(http_id_valid(""));
	a[0] = 'A';
	assert_false(http_id_valid(a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_bad_flags),
		cmocka_unit_test(test_together_they_have_a_bound),
		cmocka_unit_test(test_no_condition_counts_twice),
		cmocka_unit_test(test_clash),
		cmocka_unit_test(test_auto_clashes_with_its_own_header_alone),
		cmocka_unit_test(test_within),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_check_names_holder_and_match),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_authority_is_host),
		cmocka_unit_test(test_path),
		cmocka_unit_test(test_own_id),
		cmocka_unit_test(test_preview_takes_its_id_too),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_lines_share_the_limit),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_request_json),
		cmocka_unit_test(test_udp_has_no_requests),
		cmocka_unit_test(test_ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
