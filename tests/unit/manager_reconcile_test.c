/* SPDX-License-Identifier: Apache-2.0 */
/* Which Intercepts are in force, case by case; and that the order in which they are named makes no difference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "manager/reconcile.h"

enum { MOST = 8 };

static struct intercept_object object[MOST];
static struct claim claim[MOST];
static struct verdict verdict[MOST];
static size_t n;

static int begin(void **unused)
{
	(void)unused;
	memset(object, 0, sizeof(object));
	memset(claim, 0, sizeof(claim));
	n = 0;
	return 0;
}

/* An intercept of deployment cart in shop; its owner's session is named after him. */
static struct claim *add(const char *user, const char *name, uint64_t created, uint16_t target)
{
	struct intercept_object *o = &object[n];
	struct claim *c = &claim[n];

	o->in.kind = KIND_DEPLOYMENT;
	snprintf(o->in.name, sizeof(o->in.name), "%s", name);
	snprintf(o->in.workload, sizeof(o->in.workload), "cart");
	snprintf(o->in.ns, sizeof(o->in.ns), "shop");
	snprintf(o->in.service, sizeof(o->in.service), "cart");
	snprintf(o->object, sizeof(o->object), "%s-%zu", name, n);
	snprintf(o->uid, sizeof(o->uid), "uid-%zu", n);
	snprintf(o->user, sizeof(o->user), "%s", user);
	snprintf(o->session, sizeof(o->session), "session-of-%s", user);
	o->in.created = created;
	o->in.nports = 1;
	o->in.port[0] = (struct intercept_port){.local = 8080, .port = 80, .target = target};
	*c = (struct claim){.o = o, .session_user = o->user};
	n++;
	return c;
}

static struct intercept_object *of(struct claim *c)
{
	return &object[c - claim];
}

static const struct verdict *ask(const struct claim *c)
{
	assert_int_equal(reconcile(verdict, claim, n), 0);
	return &verdict[c - claim];
}

static void in_force(const struct claim *c)
{
	const struct verdict *v = ask(c);

	assert_true(v->in_force);
	assert_int_equal(v->phase, PHASE_PENDING);
	assert_string_equal(v->message, "");
}

static void not_in_force(const struct claim *c, enum phase phase, const char *says)
{
	const struct verdict *v = ask(c);

	assert_false(v->in_force);
	assert_int_equal(v->phase, phase);
	if (!strstr(v->message, says))
		fail_msg("'%s' does not say '%s'", v->message, says);
}

static bool said_is_text(const struct claim *c)
{
	json_t *text = json_string(ask(c)->message); /* UTF-8 alone */
	bool is = text != NULL;

	json_decref(text);
	return is;
}

static void test_nothing(void **unused)
{
	(void)unused;
	assert_int_equal(reconcile(verdict, claim, 0), 0);
}

static void test_one(void **unused)
{
	(void)unused;
	in_force(add("ana", "cart", 1, 8080));
}

static void test_session_is_missing(void **unused)
{
	struct claim *c = add("ana", "cart", 1, 8080);

	(void)unused;
	c->session_user = NULL;
	not_in_force(c, PHASE_FAILED, "does not exist");
}

static void test_session_is_another_users(void **unused)
{
	struct claim *c = add("eve", "cart", 1, 8080), *ana = add("ana", "cart", 2, 8080);

	(void)unused;
	c->session_user = "ana";
	not_in_force(c, PHASE_FAILED, "belongs to ana, not to eve");
	in_force(ana); /* though it came later */
}

static void test_spec_makes_no_sense(void **unused)
{
	struct claim *none = add("ana", "a", 1, 8080), *zero = add("ana", "b", 1, 0),
		     *twice = add("ana", "c", 1, 8081), *host = add("ana", "d", 1, 8082),
		     *local = add("ana", "e", 1, 8083);

	(void)unused;
	of(none)->in.nports = 0;
	of(twice)->in.nports = 2;
	of(twice)->in.port[1] = of(twice)->in.port[0];
	of(host)->in.kind = KIND_HOST;
	of(local)->in.port[0].local = 0;
	not_in_force(none, PHASE_FAILED, "no workload, service or port");
	not_in_force(zero, PHASE_FAILED, "has no target");
	not_in_force(twice, PHASE_FAILED, "port 8081 of the pods twice");
	not_in_force(host, PHASE_FAILED, "no workload");
	not_in_force(local, PHASE_FAILED, "no local port");
}

static void test_tcp_and_udp_of_one_number_are_two(void **unused)
{
	struct claim *a = add("ana", "dns", 1, 53), *b = add("bob", "dns", 2, 53);

	(void)unused;
	of(b)->in.port[0].udp = true;
	in_force(a);
	in_force(b);
	of(a)->in.nports = 2;
	of(a)->in.port[1] = of(a)->in.port[0];
	of(a)->in.port[1].udp = true;
	in_force(a);
	not_in_force(b, PHASE_CONFLICT, "taken by the intercept 'dns' of ana");
}

/* --- http --- */

static const char *const ids[MOST] = {
	"00000000000000000000000000000000", "11111111111111111111111111111111",
	"22222222222222222222222222222222", "33333333333333333333333333333333",
	"44444444444444444444444444444444", "55555555555555555555555555555555",
	"66666666666666666666666666666666", "77777777777777777777777777777777",
};

/* "auto", "all" or "NAME=REGEX"; and maybe a path. */
static struct claim *http(const char *user, const char *name, uint64_t created, const char *match,
			  const char *path)
{
	struct claim *c = add(user, name, created, 8080);
	struct intercept *in = &of(c)->in;
	struct error e;
	bool given = false;

	in->mechanism = MECHANISM_HTTP;
	snprintf(in->id, sizeof(in->id), "%s", ids[c - claim]);
	assert_int_equal(http_match_parse(&in->match, &given, match, &e), 0);
	if (path)
		assert_int_equal(http_path_parse(&in->match, path, &e), 0);
	return c;
}

static void test_requests_share_a_port(void **unused)
{
	struct claim *ana = http("ana", "cart", 1, "x-user=ana", NULL),
		     *bob = http("bob", "cart", 2, "x-user=bob", NULL),
		     *eve = http("eve", "cart", 3, "auto", NULL),
		     *own = http("ana", "other", 4, "auto", NULL);

	(void)unused;
	in_force(ana);
	in_force(bob);
	in_force(eve);
	in_force(own);
}

static void test_same_requests_clash(void **unused)
{
	struct claim *ana = http("ana", "cart", 1, "x-user=ana", NULL),
		     *bob = http("bob", "cart", 2, "X-User=ana", NULL);

	(void)unused;
	in_force(ana);
	not_in_force(bob, PHASE_CONFLICT,
		     "is taken by the intercept 'cart' of ana, for header(\"x-user\") ~= "
		     "regexp(\"ana\").");
}

/* A status is JSON: half a character in it, and nobody would hear of the conflict. */
static void test_long_names_are_cut_between_characters(void **unused)
{
	struct claim *ana = http("ana", "cart", 1, "x-user=ana", NULL),
		     *bob = http("bob", "cart", 2, "x-user=ana", NULL);
	struct http_condition *mine = &of(ana)->in.match.condition[0];

	(void)unused;
	for (unsigned shift = 0; shift < 2; shift++) {
		mine->pattern[0] = of(ana)->user[0] = 'a';
		for (size_t i = 0; i < 80; i++) {
			memcpy(mine->pattern + shift + 2 * i, "\xc3\xa9", 3);
			memcpy(of(ana)->user + shift + 2 * i, "\xc3\xa9", 3);
		}
		of(bob)->in.match = of(ana)->in.match;
		claim[0].session_user = of(ana)->user;
		not_in_force(bob, PHASE_CONFLICT, "is taken by the intercept 'cart' of");
		assert_true(said_is_text(bob));
		claim[0].session_user = "bob";
		not_in_force(ana, PHASE_FAILED, "Its Session belongs to bob, not to");
		assert_true(said_is_text(ana));
	}
}

static void test_all_and_tcp_clash_with_everything(void **unused)
{
	struct claim *ana = http("ana", "cart", 1, "auto", NULL),
		     *all = http("bob", "cart", 2, "all", NULL), *tcp = add("eve", "cart", 3, 8080),
		     *other = http("zoe", "cart", 4, "x-a=b", "/api");

	(void)unused;
	in_force(ana);
	not_in_force(all, PHASE_CONFLICT, "taken by the intercept 'cart' of ana");
	not_in_force(tcp, PHASE_CONFLICT, "taken by the intercept 'cart' of ana");
	in_force(other);
	of(ana)->deleting = true;
	of(other)->deleting = true;
	in_force(all);
	not_in_force(tcp, PHASE_CONFLICT, "for all HTTP requests");
	of(all)->deleting = true;
	in_force(tcp);
	of(other)->deleting = false;
	not_in_force(other, PHASE_CONFLICT, "for all TCP connections");
}

static void test_paths_apart_do_not_clash(void **unused)
{
	struct claim *api = http("ana", "cart", 1, "all", "/api"),
		     *web = http("bob", "cart", 2, "all", "/web"),
		     *deep = http("eve", "cart", 3, "auto", "/api/v2");

	(void)unused;
	in_force(api);
	in_force(web);
	not_in_force(deep, PHASE_CONFLICT, "path-prefix(\"/api\")");
}

/* One that is widened would otherwise take what others hold, by the age of what it was. */
static void test_a_wider_match_does_not_inherit(void **unused)
{
	struct claim *old = http("ana", "cart", 1, "x-user=ana", NULL),
		     *bob = http("bob", "cart", 2, "x-user=bob", NULL),
		     *wide = add("ana", "cart", 3, 8080);

	(void)unused;
	snprintf(of(old)->phase, sizeof(of(old)->phase), "Active");
	snprintf(of(bob)->phase, sizeof(of(bob)->phase), "Active");
	in_force(bob);
	in_force(old);
	not_in_force(wide, PHASE_CONFLICT, "'cart' of bob");
}

static void test_a_narrower_match_inherits(void **unused)
{
	struct claim *old = add("ana", "cart", 1, 8080),
		     *bob = http("bob", "cart", 2, "auto", NULL),
		     *narrow = http("ana", "cart", 3, "x-user=ana", NULL);

	(void)unused;
	snprintf(of(old)->phase, sizeof(of(old)->phase), "Active");
	in_force(narrow);
	not_in_force(old, PHASE_FAILED, "Replaced");
	in_force(bob); /* there is room for him now */
}

static void test_an_id_is_one_intercepts(void **unused)
{
	struct claim *ana = http("ana", "cart", 1, "auto", NULL),
		     *eve = http("eve", "mine", 2, "auto", NULL),
		     *moved = http("ana", "cart", 3, "auto", NULL);

	(void)unused;
	memcpy(of(eve)->in.id, of(ana)->in.id, sizeof(of(ana)->in.id));
	memcpy(of(moved)->in.id, of(ana)->in.id, sizeof(of(ana)->in.id));
	snprintf(of(eve)->phase, sizeof(of(eve)->phase), "Active");
	not_in_force(eve, PHASE_FAILED, "id is another intercept's");
	in_force(moved);
	not_in_force(ana, PHASE_FAILED, "Replaced");
}

/* Agents hold so many rules; those who have them keep them, and who waits comes in when one leaves. */
static void test_a_workload_has_room_for_so_many(void **unused)
{
	enum { MANY = INTERCEPT_RULES + 2 };
	struct intercept_object *o = calloc(MANY, sizeof(*o));
	struct verdict *v = calloc(MANY, sizeof(*v));
	struct claim *c = calloc(MANY, sizeof(*c));
	unsigned last = MANY - 1;

	(void)unused;
	for (unsigned i = 0; i < MANY; i++) {
		o[i] = *of(http("ana", "cart", i, "auto", NULL));
		n = 0;
		memset(object, 0, sizeof(object));
		snprintf(o[i].in.name, sizeof(o[i].in.name), "cart-%u", i);
		snprintf(o[i].in.id, sizeof(o[i].in.id), "%032x", i);
		c[i] = (struct claim){.o = &o[i], .session_user = o[i].user};
	}
	snprintf(o[last].phase, sizeof(o[last].phase), "Active");
	assert_int_equal(reconcile(v, c, MANY), 0);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(v[i].in_force, i < INTERCEPT_RULES - 1 || i == last);
	assert_int_equal(v[last - 1].phase, PHASE_CONFLICT);
	assert_non_null(strstr(v[last - 1].message, "as many intercepts as its agents take"));
	snprintf(o[0].in.workload, sizeof(o[0].in.workload), "other");
	assert_int_equal(reconcile(v, c, MANY), 0);
	assert_true(v[last - 2].in_force);
	assert_false(v[last - 1].in_force);
	free(o);
	free(v);
	free(c);
}

static void test_deleting_holds_nothing(void **unused)
{
	struct claim *a = add("ana", "cart", 1, 8080), *b = add("bob", "cart", 2, 8080);

	(void)unused;
	of(a)->deleting = true;
	snprintf(of(a)->phase, sizeof(of(a)->phase), "Active");
	assert_false(ask(a)->in_force);
	in_force(b);
}

static void test_earlier_wins_then_lower_uid(void **unused)
{
	struct claim *late = add("bob", "cart", 20, 8080), *early = add("ana", "cart", 10, 8080),
		     *same = add("cid", "cart", 10, 8080);

	(void)unused;
	in_force(early); /* uid-1 before uid-2 */
	not_in_force(late, PHASE_CONFLICT, "Port 80 of deployment cart is taken by");
	not_in_force(late, PHASE_CONFLICT, "'cart' of ana");
	not_in_force(same, PHASE_CONFLICT, "of ana");
}

static void test_other_ports_and_workloads_do_not_clash(void **unused)
{
	struct claim *a = add("ana", "a", 1, 8080), *port = add("bob", "b", 2, 8081),
		     *ns = add("bob", "c", 2, 8080), *kind = add("bob", "d", 2, 8080),
		     *name = add("bob", "e", 2, 8080);

	(void)unused;
	snprintf(of(ns)->in.ns, sizeof(of(ns)->in.ns), "other");
	of(kind)->in.kind = KIND_STATEFULSET;
	snprintf(of(name)->in.workload, sizeof(of(name)->in.workload), "till");
	in_force(a);
	in_force(port);
	in_force(ns);
	in_force(kind);
	in_force(name);
}

static void test_one_of_several_ports_clashes(void **unused)
{
	struct claim *a = add("ana", "a", 1, 8080), *b = add("bob", "b", 2, 9090);

	(void)unused;
	of(b)->in.nports = 2;
	of(b)->in.port[1] =
		(struct intercept_port){.local = 1, .port = 81, .target = 8080, .name = "admin"};
	in_force(a);
	not_in_force(b, PHASE_CONFLICT, "Port 80 of deployment cart");
}

static void test_own_other_name_clashes_too(void **unused)
{
	struct claim *a = add("ana", "a", 1, 8080), *b = add("ana", "b", 2, 8080);

	(void)unused;
	in_force(a);
	not_in_force(b, PHASE_CONFLICT, "your own intercept 'a', for all TCP connections.");
}

static void test_holder_keeps_what_it_has(void **unused)
{
	struct claim *early = add("ana", "cart", 1, 8080), *late = add("bob", "cart", 2, 8080);

	(void)unused;
	/* It came into force while the other was stale, say; it is not thrown out. */
	snprintf(of(late)->phase, sizeof(of(late)->phase), "Active");
	snprintf(of(early)->phase, sizeof(of(early)->phase), "Conflict");
	in_force(late);
	not_in_force(early, PHASE_CONFLICT, "of bob");
}

static void test_stale_gives_way(void **unused)
{
	struct claim *gone = add("ana", "cart", 1, 8080), *late = NULL;

	(void)unused;
	snprintf(of(gone)->phase, sizeof(of(gone)->phase), "Active");
	gone->stale = true;
	in_force(gone); /* nobody wants it */
	late = add("bob", "cart", 2, 8080);
	in_force(late);
	not_in_force(gone, PHASE_CONFLICT, "of bob");
}

static void test_newest_of_a_name_wins(void **unused)
{
	struct claim *old = add("ana", "cart", 1, 8080), *moved = add("ana", "cart", 5, 9090);

	(void)unused;
	snprintf(of(old)->phase, sizeof(of(old)->phase), "Active");
	in_force(moved);
	not_in_force(old, PHASE_FAILED, "Replaced by the newer intercept cart-1");
}

static void test_moving_inherits_against_who_waits(void **unused)
{
	struct claim *old = add("ana", "cart", 1, 8080), *waits = add("bob", "cart", 2, 8080),
		     *moved = add("ana", "cart", 3, 8080);

	(void)unused;
	snprintf(of(old)->phase, sizeof(of(old)->phase), "Active");
	snprintf(of(waits)->phase, sizeof(of(waits)->phase), "Conflict");
	in_force(moved);
	not_in_force(waits, PHASE_CONFLICT, "of ana");
	not_in_force(old, PHASE_FAILED, "Replaced");
	/* The old one goes; what the new one has it keeps. */
	snprintf(of(moved)->phase, sizeof(of(moved)->phase), "Pending");
	of(old)->deleting = true;
	in_force(moved);
	not_in_force(waits, PHASE_CONFLICT, "of ana");
}

static void test_moving_to_a_taken_port_keeps_the_old(void **unused)
{
	struct claim *old = add("ana", "cart", 1, 8080), *bob = add("bob", "cart", 2, 9090),
		     *moved = add("ana", "cart", 3, 9090);

	(void)unused;
	snprintf(of(old)->phase, sizeof(of(old)->phase), "Active");
	snprintf(of(bob)->phase, sizeof(of(bob)->phase), "Active");
	not_in_force(moved, PHASE_CONFLICT, "of bob");
	in_force(old);
	in_force(bob);
}

/* Whatever is in force clashes with nothing else in force, and of a name there is one; in whatever order they are named. */
/* Half of them take requests. */
static void random_match(struct intercept *in, uint32_t *seed)
{
	static const char *const matches[] = {"auto", "all", "a=1", "a=2", "b=1"};
	static const char *const paths[] = {"", "/x", "/y"};
	bool given = false;

	*seed = *seed * 1664525 + 1013904223;
	if ((*seed >> 10) % 2)
		return;
	in->mechanism = MECHANISM_HTTP;
	snprintf(in->id, sizeof(in->id), "%s", ids[(*seed >> 12) % MOST]);
	http_match_parse(&in->match, &given, matches[(*seed >> 16) % 5], NULL);
	snprintf(in->match.path, sizeof(in->match.path), "%s", paths[(*seed >> 20) % 3]);
}

static void test_random_sets(void **unused)
{
	static const char *const users[] = {"ana", "bob", "cid"};
	static const char *const phases[] = {"", "Active", "Conflict", "Pending", "Failed"};
	uint32_t seed = 1;

	(void)unused;
	for (int round = 0; round < 5000; round++) {
		bool force[MOST];

		begin(NULL);
		for (int i = 0; i < MOST; i++) {
			struct claim *c;

			seed = seed * 1664525 + 1013904223;
			c = add(users[(seed >> 8) % 3], (seed >> 12) % 2 ? "a" : "b",
				(seed >> 14) % 4, (uint16_t)(8080 + (seed >> 18) % 3));
			c->stale = (seed >> 22) % 4 == 0;
			snprintf(of(c)->phase, sizeof(of(c)->phase), "%s",
				 phases[(seed >> 25) % 5]);
			random_match(&of(c)->in, &seed);
		}
		assert_int_equal(reconcile(verdict, claim, n), 0);
		for (int i = 0; i < MOST; i++) {
			force[i] = verdict[i].in_force;
			assert_true(force[i] || *verdict[i].message);
			for (int k = 0; k < i; k++) {
				bool same = object[i].in.port[0].target ==
						    object[k].in.port[0].target &&
					    http_match_clash(&object[i].in, &object[k].in),
				     name = !strcmp(object[i].session, object[k].session) &&
					    !strcmp(object[i].in.name, object[k].in.name);

				assert_false(force[i] && force[k] && (same || name));
			}
		}
		for (int i = 0; i < MOST / 2; i++) {
			struct claim swap = claim[i];

			claim[i] = claim[MOST - 1 - i];
			claim[MOST - 1 - i] = swap;
		}
		assert_int_equal(reconcile(verdict, claim, n), 0);
		for (int i = 0; i < MOST; i++)
			assert_int_equal(force[i], verdict[MOST - 1 - i].in_force);
	}
}

/* --- coverage ----------------------------------------------------------------------------------------------- */

static void covers(const struct endpoint *e, size_t count, enum phase phase, unsigned agents,
		   const char *says)
{
	struct coverage c;

	coverage(&c, e, count);
	assert_int_equal(c.phase, phase);
	assert_int_equal(c.agents, agents);
	assert_int_equal(c.endpoints, count);
	if (!strstr(c.message, says))
		fail_msg("'%s' does not say '%s'", c.message, says);
}

static void test_coverage(void **unused)
{
	static const struct endpoint ready = {.pod = "cart-0",
					      .marked = true,
					      .connected = true,
					      .confirmed = true},
				     told = {.pod = "cart-1", .marked = true, .connected = true},
				     comes = {.pod = "cart-2", .marked = true},
				     bare = {.pod = "cart-3"},
				     left_out = {.pod = "cart-4",
						 .marked = true,
						 .connected = true,
						 .left_out = "it cannot; help it"};

	(void)unused;
	covers(NULL, 0, PHASE_PENDING, 0, "No pod of the service is ready");
	covers((struct endpoint[]){ready}, 1, PHASE_ACTIVE, 1, "");
	covers((struct endpoint[]){ready, ready}, 2, PHASE_ACTIVE, 2, "");
	covers((struct endpoint[]){ready, told}, 2, PHASE_PENDING, 1, "1 of 2 ready pods");
	covers((struct endpoint[]){ready, comes}, 2, PHASE_PENDING, 1, "1 of 2 ready pods");
	covers((struct endpoint[]){told}, 1, PHASE_PENDING, 0, "1 of 1");
	covers((struct endpoint[]){ready, bare}, 2, PHASE_PARTIAL, 1, "No agent in pod cart-3.");
	covers((struct endpoint[]){left_out, told}, 2, PHASE_PENDING, 0,
	       "The agent of pod cart-4 does not serve it: it cannot; help it.");
	covers((struct endpoint[]){ready, left_out}, 2, PHASE_PARTIAL, 1, "it cannot");
	covers((struct endpoint[]){bare, bare}, 2, PHASE_PENDING, 0,
	       "No agent in pods cart-3, cart-3.");
}

static void test_coverage_names_a_few(void **unused)
{
	struct endpoint e[100] = {
		{.pod = "first", .marked = true, .connected = true, .confirmed = true}};

	(void)unused;
	for (int i = 1; i < 100; i++)
		e[i].pod = "a-pod-with-a-name-that-is-rather-long-as-those-of-replica-sets-are";
	covers(e, 100, PHASE_PARTIAL, 1, " and 95 more.");
}

/* An old pod that a proxy may still send somebody to keeps it from being active, but is no endpoint. */
static void test_coverage_waits_for_those_that_leave(void **unused)
{
	const struct endpoint ready = {
		.pod = "new", .marked = true, .connected = true, .confirmed = true};
	const struct endpoint leaving = {.pod = "old", .leaving = true};
	const struct endpoint both[] = {ready, leaving}, alone[] = {leaving};
	struct coverage c;

	(void)unused;
	coverage(&c, both, 2);
	assert_int_equal(c.phase, PHASE_PENDING);
	assert_int_equal(c.agents, 1);
	assert_int_equal(c.endpoints, 1);
	assert_string_equal(c.message,
			    "Waiting until no connection goes to 1 former pod any more.");
	coverage(&c, alone, 1);
	assert_int_equal(c.phase, PHASE_PENDING);
	assert_int_equal(c.endpoints, 0);
	assert_string_equal(c.message, "No pod of the service is ready.");
}

static void test_phase_names(void **unused)
{
	enum phase p;

	(void)unused;
	for (enum phase i = 0; i < NUM_PHASES; i++) {
		assert_true(phase_parse(&p, phase_name(i)));
		assert_int_equal(p, i);
	}
	assert_false(phase_parse(&p, ""));
	assert_false(phase_parse(&p, "active"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_nothing, begin),
		cmocka_unit_test_setup(test_one, begin),
		cmocka_unit_test_setup(test_session_is_missing, begin),
		cmocka_unit_test_setup(test_session_is_another_users, begin),
		cmocka_unit_test_setup(test_spec_makes_no_sense, begin),
		cmocka_unit_test_setup(test_tcp_and_udp_of_one_number_are_two, begin),
		cmocka_unit_test_setup(test_deleting_holds_nothing, begin),
		cmocka_unit_test_setup(test_earlier_wins_then_lower_uid, begin),
		cmocka_unit_test_setup(test_other_ports_and_workloads_do_not_clash, begin),
		cmocka_unit_test_setup(test_one_of_several_ports_clashes, begin),
		cmocka_unit_test_setup(test_own_other_name_clashes_too, begin),
		cmocka_unit_test_setup(test_holder_keeps_what_it_has, begin),
		cmocka_unit_test_setup(test_stale_gives_way, begin),
		cmocka_unit_test_setup(test_newest_of_a_name_wins, begin),
		cmocka_unit_test_setup(test_moving_inherits_against_who_waits, begin),
		cmocka_unit_test_setup(test_moving_to_a_taken_port_keeps_the_old, begin),
		cmocka_unit_test_setup(test_requests_share_a_port, begin),
		cmocka_unit_test_setup(test_same_requests_clash, begin),
		cmocka_unit_test_setup(test_long_names_are_cut_between_characters, begin),
		cmocka_unit_test_setup(test_all_and_tcp_clash_with_everything, begin),
		cmocka_unit_test_setup(test_paths_apart_do_not_clash, begin),
		cmocka_unit_test_setup(test_a_wider_match_does_not_inherit, begin),
		cmocka_unit_test_setup(test_a_narrower_match_inherits, begin),
		cmocka_unit_test_setup(test_an_id_is_one_intercepts, begin),
		cmocka_unit_test_setup(test_a_workload_has_room_for_so_many, begin),
		cmocka_unit_test(test_random_sets),
		cmocka_unit_test(test_coverage),
		cmocka_unit_test(test_coverage_names_a_few),
		cmocka_unit_test(test_coverage_waits_for_those_that_leave),
		cmocka_unit_test(test_phase_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
