/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manager as a program: who is admitted, intercepts, the exit, the hub, restarts, full disks.
 */
enum { FIRST_PORT = 42000 };

#include "tests/unit/manager_program.h"

#include <ifaddrs.h>
#include <sys/resource.h>
#include <sys/socket.h>

static void test_laptop_is_welcomed(void **unused)
{
	(void)unused;
	assert_int_equal(make_invite("laptop", "ana", "1h"), 0);
	join("ana", NULL);
	assert_int_equal(member_ask(&me, "workloads", NULL), RPC_FORBIDDEN);
	says("hello must come first");
	assert_int_equal(hello_laptop(), 0);
	assert_string_equal(text_of(me.result, "name"), "ana");
	assert_string_equal(text_of(me.result, "address"), "198.18.0.1");
	assert_string_equal(text_of(me.result, "namespace"), "default");
	assert_string_equal(text_of(json_object_get(me.result, "dns"), "server"), "10.9.9.53:53");
	assert_int_equal(json_array_size(json_object_get(me.result, "prefixes")), 2);
	assert_int_equal(member_ask(&me, "nosuch", NULL), RPC_NO_METHOD);
	assert_int_equal(member_ask(&me, "traffic", NULL), RPC_NO_METHOD);
	assert_int_equal(member_ask(&me, "ping", NULL), 0);
	/* it says that the address is taken there */
	assert_int_equal(member_ask(&me, "hello",
				    json_pack("{s:s, s:s, s:[s]}", "version", CULVERT_VERSION,
					      "role", "laptop", "avoid", "198.18.0.1")),
			 0);
	assert_string_equal(text_of(me.result, "address"), "198.18.0.2");
}

static void test_invites_are_refused_with_the_reason(void **unused)
{
	struct identity first;

	(void)unused;
	identity_generate(&first);
	assert_int_equal(make_invite("laptop", "ana", "1h"), 0);
	join("ana", &first);
	assert_int_equal(
		member_ask(&me, "hello",
			   json_pack("{s:s, s:s}", "version", CULVERT_VERSION, "role", "agent")),
		RPC_FORBIDDEN);
	says("is for a laptop");
	assert_int_equal(member_ask(&me, "hello",
				    json_pack("{s:s, s:s}", "version", "9.9.9", "role", "laptop")),
			 RPC_FORBIDDEN);
	says("9.9.9");
	says(CULVERT_VERSION);
	assert_int_equal(hello_laptop(), 0);
	member_stop(&me);

	join("ana", NULL); /* another key */
	assert_int_equal(hello_laptop(), RPC_FORBIDDEN);
	says("used already");
	member_stop(&me);

	join("ana", &first); /* the same key again */
	assert_int_equal(hello_laptop(), 0);
	member_stop(&me);

	assert_int_equal(make_invite("laptop", "bob", "1s"), 0);
	poll(NULL, 0, 2100);
	join("bob", NULL);
	assert_int_equal(hello_laptop(), RPC_FORBIDDEN);
	says("expired");
}

static void test_wrong_secret_is_silence(void **unused)
{
	struct invite inv;
	struct identity id;

	(void)unused;
	assert_int_equal(make_invite("laptop", "ana", "1h"), 0);
	inv = read_invite("ana");
	inv.psk[0] ^= 1;
	identity_generate(&id);
	member_start(&me, &id, "127.0.0.1:0");
	member_join(&me, &inv);
	assert_false(member_until(&me, &me.established, 1, 1500));
	assert_false(member_logged(NULL, "registered", 0));
}

static void test_newer_invite_shuts_the_old_key_out(void **unused)
{
	cleanup(free_ptr) char *first = NULL;
	struct identity old;
	size_t len;

	(void)unused;
	identity_generate(&old);
	assert_int_equal(make_invite("laptop", "ana", "1h"), 0);
	assert_int_equal(file_read(member_path("ana.invite"), 4096, &first, &len, NULL), 0);
	join("ana", &old);
	assert_int_equal(hello_laptop(), 0);
	assert_int_equal(member_ask(&me, "intercept", request("hello", 3000, "")), 0);
	member_stop(&me);
	assert_false(member_logged(NULL, "'ana' already", 0));
	assert_int_equal(make_invite("laptop", "ana", "1h"), 0);
	assert_true(member_logged(NULL, "there is a laptop 'ana' already", 0));
	join("ana", NULL);
	assert_int_equal(hello_laptop(), 0);
	assert_string_equal(text_of(me.result, "address"), "198.18.0.1");
	assert_true(member_logged(&me, "former key is shut out", 100));
	assert_int_equal(member_ask(&me, "leave", json_pack("{s:s}", "name", "hello")), 0);
	member_stop(&me);

	/* Its invite has not expired, but is spent; a restart does not forget that. */
	poll(NULL, 0, 1200);
	member_write("ana.invite", first);
	join("ana", &old);
	assert_int_equal(hello_laptop(), RPC_FORBIDDEN);
	says("used already");
	member_stop(&me);
	member_end(&manager, SIGTERM);
	manager = member_serve(config);
	poll(NULL, 0, 200);
	join("ana", &old);
	assert_int_equal(hello_laptop(), RPC_FORBIDDEN);
}

static void test_agent_must_be_listed(void **unused)
{
	(void)unused;
	assert_int_equal(make_invite("agent", "hello-1", "1h"), 0);
	join("hello-1", NULL);
	assert_int_equal(hello_agent("nosuch"), RPC_NOT_FOUND);
	assert_int_equal(hello_agent("multi"), RPC_FORBIDDEN);
	says("does not list 'hello-1' among the pods of deployment multi");
	assert_int_equal(hello_agent("hello"), 0);
	assert_true(member_until(&me, &me.notes, 1, 1000));
	assert_string_equal(me.note_method, "rules");
	assert_int_equal(json_array_size(json_object_get(me.note, "rules")), 0);
	assert_int_equal(member_ask(&me, "intercept", request("hello", 3000, "")), RPC_NO_METHOD);
}

static void test_intercept_replace_leave(void **unused)
{
	json_t *i;
	json_int_t overlay;

	(void)unused;
	assert_int_equal(make_invite("laptop", "ana", "1h"), 0);
	join("ana", NULL);
	assert_int_equal(hello_laptop(), 0);
	assert_int_equal(member_ask(&me, "intercept", request("multi", 3000, "")), RPC_USAGE);
	says("a (1), b (2)");
	assert_int_equal(member_ask(&me, "intercept", request("nosuch", 3000, "")), RPC_NOT_FOUND);
	assert_int_equal(member_ask(&me, "intercept", json_pack("{s:s}", "name", "x")),
			 RPC_BAD_PARAMS);
	assert_int_equal(member_ask(&me, "intercept", request("hello", 3000, "")), 0);
	assert_false(json_is_true(json_object_get(me.result, "replaced")));
	i = json_array_get(json_object_get(json_object_get(me.result, "intercept"), "ports"), 0);
	overlay = json_integer_value(json_object_get(i, "overlay"));
	assert_true(overlay >= 20000);
	assert_int_equal(member_ask(&me, "intercept", request("hello", 3500, "http")), 0);
	assert_true(json_is_true(json_object_get(me.result, "replaced")));
	i = json_array_get(json_object_get(json_object_get(me.result, "intercept"), "ports"), 0);
	assert_int_equal(json_integer_value(json_object_get(i, "local")), 3500);
	assert_int_equal(json_integer_value(json_object_get(i, "overlay")), overlay);
	member_run(&me, 50);
	assert_string_equal(me.note_method, "intercepts");
	i = json_array_get(json_object_get(me.note, "intercepts"), 0);
	assert_string_equal(text_of(i, "state"), "WAITING");
	assert_int_equal(json_array_size(json_object_get(me.note, "intercepts")), 1);
	assert_int_equal(member_ask(&me, "leave", json_pack("{s:s}", "name", "hello")), 0);
	assert_int_equal(member_ask(&me, "leave", json_pack("{s:s}", "name", "hello")),
			 RPC_NOT_FOUND);
}

static void test_holder_is_named(void **unused)
{
	(void)unused;
	assert_int_equal(make_invite("laptop", "ana", "1h"), 0);
	assert_int_equal(make_invite("laptop", "bob", "1h"), 0);
	join("ana", NULL);
	assert_int_equal(hello_laptop(), 0);
	assert_int_equal(member_ask(&me, "intercept", request("hello", 3000, "")), 0);
	member_stop(&me);
	join("bob", NULL);
	assert_int_equal(hello_laptop(), 0);
	assert_int_equal(member_ask(&me, "intercept", request("hello", 3000, "")), RPC_CONFLICT);
	says("by ana");
	assert_int_equal(member_ask(&me, "workloads", NULL), 0);
	assert_string_equal(
		text_of(json_array_get(
				json_object_get(
					json_array_get(json_object_get(me.result, "workloads"), 0),
					"intercepts"),
				0),
			"owner"),
		"ana");
}

static void test_killed_manager_comes_back_by_itself(void **unused)
{
	unsigned before;

	(void)unused;
	assert_int_equal(make_invite("laptop", "ana", "1h"), 0);
	join("ana", NULL);
	assert_int_equal(hello_laptop(), 0);
	assert_int_equal(member_ask(&me, "intercept", request("hello", 3000, "")), 0);
	member_end(&manager, SIGKILL);
	before = me.established;
	manager = member_serve(config);
	/* It knows where we are, so the handshake is its own, long before our time-outs. */
	assert_true(member_until(&me, &me.established, before + 1, 3000));
	assert_true(member_connect(&me, 3000));
	assert_int_equal(hello_laptop(), 0);
	assert_true(member_until(&me, &me.notes, 1, 1000));
	assert_int_equal(member_ask(&me, "leave", json_pack("{s:s}", "name", "hello")), 0);
}

/* A file size limit of 0 stands for the full disk: the same call fails at the same place. */
static void limit_files(rlim_t bytes)
{
	const struct rlimit l = {.rlim_cur = bytes, .rlim_max = RLIM_INFINITY};

	assert_int_equal(prlimit(manager, RLIMIT_FSIZE, &l, NULL), 0);
}

static void test_full_disk_changes_nothing(void **unused)
{
	(void)unused;
	assert_int_equal(make_invite("laptop", "ana", "1h"), 0);
	assert_int_equal(make_invite("laptop", "bob", "1h"), 0);
	join("ana", NULL);
	assert_int_equal(hello_laptop(), 0);
	limit_files(0);
	assert_int_equal(member_ask(&me, "intercept", request("hello", 3000, "")), RPC_FAILED);
	says("Nothing was changed");
	says("File too large");
	assert_int_equal(member_ask(&me, "leave", json_pack("{s:s}", "name", "hello")),
			 RPC_NOT_FOUND);
	member_stop(&me);
	join("bob", NULL);
	assert_int_equal(hello_laptop(), RPC_FAILED);
	says("cannot write its state");
	limit_files(RLIM_INFINITY);
	assert_int_equal(hello_laptop(), 0);
	assert_int_equal(member_ask(&me, "intercept", request("hello", 3000, "")), 0);
}

static void edit_state(const char *from, const char *to)
{
	char *text = NULL, edited[8192], *at;
	size_t len = 0;
	struct error e;

	if (file_read(member_path("state/state.json"), 1 << 20, &text, &len, &e))
		fail_msg("%s", e.text);
	at = strstr(text, from);
	assert_non_null(at);
	*at = '\0';
	snprintf(edited, sizeof(edited), "%s%s%s", text, to, at + strlen(from));
	free(text);
	member_write("state/state.json", edited);
}

static void start_fails(const char *sentence)
{
	int status;

	manager = member_serve(config);
	assert_int_equal(waitpid(manager, &status, 0), manager);
	manager = 0;
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_true(member_logged(NULL, sentence, 0));
}

static void test_state_edited_by_hand(void **unused)
{
	pid_t running = manager;
	struct identity ana;
	char key[256], kept[300];

	(void)unused;
	identity_generate(&ana);
	assert_int_equal(make_invite("laptop", "ana", "1h"), 0);
	assert_int_equal(make_invite("laptop", "bob", "1h"), 0);
	join("ana", &ana);
	assert_int_equal(hello_laptop(), 0);
	assert_string_equal(text_of(me.result, "address"), "198.18.0.1");
	member_stop(&me);
	join("bob", NULL);
	assert_int_equal(hello_laptop(), 0);
	assert_string_equal(text_of(me.result, "address"), "198.18.0.2");
	member_stop(&me);
	start_fails("another manager uses this state folder");
	manager = running;
	kill(manager, SIGHUP);
	assert_true(member_logged(NULL, "nothing is read again", 1000));
	member_end(&manager, SIGTERM);

	edit_state("\"peers\"", "\"pears\"");
	start_fails("the list 'peers' is missing");
	edit_state("\"pears\"", "\"peers\"");

	snprintf(key, sizeof(key), "%s", member_path("state/key"));
	snprintf(kept, sizeof(kept), "%s.kept", key);
	assert_int_equal(rename(key, kept), 0);
	start_fails("put it back");
	assert_int_equal(rename(kept, key), 0);

	edit_state("198.18.0.2", "198.18.0.1");
	manager = member_serve(config);
	join("ana", &ana);
	assert_int_equal(hello_laptop(), 0);
	assert_string_equal(text_of(me.result, "address"), "198.18.0.2"); /* bob has the other */
	member_stop(&me);
	member_end(&manager, SIGTERM);

	edit_state("\"name\": \"bob\"", "\"name\": \"ana\"");
	start_fails("there are two peers called 'ana'");
	/* What could not be read whole was not written over. */
	edit_state("\"name\": \"ana\"", "\"name\": \"bob\"");
	assert_int_equal(truncate(member_path("log"), 0), 0);
	manager = member_serve(config);
	assert_true(member_logged(NULL, "2 peers and 0 intercepts known", 2000));
	assert_true(member_logged(NULL, "listening on", 5000)); /* SIGTERM ends it in order now */
}

/* Another release of PCRE2 may refuse what the last one took. */
static void test_match_that_is_no_longer_understood_ends(void **unused)
{
	json_t *q = request("hello", 3000, "");

	(void)unused;
	json_object_update_new(q, json_pack("{s:s, s:{s:s, s:[{s:s, s:s}], s:s}}", "mechanism",
					    "http", "match", "mode", "headers", "conditions",
					    "name", "x-user", "pattern", "ana", "path", ""));
	assert_int_equal(make_invite("laptop", "ana", "1h"), 0);
	join("ana", NULL);
	assert_int_equal(hello_laptop(), 0);
	assert_int_equal(member_ask(&me, "intercept", q), 0);
	member_stop(&me);
	member_end(&manager, SIGTERM);
	edit_state("\"pattern\": \"ana\"", "\"pattern\": \"(ana\"");
	assert_int_equal(truncate(member_path("log"), 0), 0);
	manager = member_serve(config);
	assert_true(member_logged(NULL, "intercept 0 is ended: the regular expression", 2000));
	assert_true(member_logged(NULL, "1 peers and 0 intercepts known", 2000));
	assert_true(member_logged(NULL, "listening on", 5000));
}

/* Nobody asked for this write: a peer came from another port. */
static void test_full_disk_is_logged_with_the_reason(void **unused)
{
	struct identity id;

	(void)unused;
	identity_generate(&id);
	assert_int_equal(make_invite("laptop", "ana", "1h"), 0);
	join("ana", &id);
	assert_int_equal(hello_laptop(), 0);
	member_stop(&me);
	/* The log is a file, too: there is room for a line or two, not for the state. */
	assert_int_equal(truncate(member_path("log"), 0), 0);
	limit_files(350);
	join("ana", &id);
	assert_true(member_logged(&me, "File too large; changes are refused", 2000));
	limit_files(RLIM_INFINITY);
}

/* --- the exit -------------------------------------------------------------------------------------------------- */

struct dialled {
	unsigned done;
	int error;
};

static void on_dialled(struct stream *s, unsigned ev, void *arg)
{
	struct dialled *d = arg;

	d->done = 1;
	d->error = ev & STREAM_ERROR ? s->error : 0;
	s->ops->abort(s);
}

/* What a connection from the laptop to `to` comes to: 0 or -errno. */
static int dial(const char *to)
{
	struct dialled d = {0};
	union sockaddr_any sa;
	struct ipaddr a;
	struct prefix everything;
	struct stream *s;

	prefix_parse(&everything, "0.0.0.0/0");
	overlay_route_add(node_overlay(me.node), &everything, me.peer);
	assert_int_equal(sockaddr_parse(&sa, to), 0);
	a = sockaddr_ip(&sa);
	ipaddr_parse(&me.address, "198.18.0.1");
	assert_int_equal(netstack_connect(me.ns, &me.address, &a, sockaddr_port(&sa), NULL,
					  2 * NSEC_PER_SEC, &s),
			 0);
	stream_set(s, on_dialled, &d);
	s->ops->want(s, STREAM_WRITABLE);
	assert_true(member_until(&me, &d.done, 1, 4000));
	return d.error;
}

/* An address of this machine that is not loopback: that one no stack takes from a wire. */
static bool own_address(char text[static ADDR_STRLEN])
{
	struct ifaddrs *all, *i;

	assert_int_equal(getifaddrs(&all), 0);
	for (i = all; i; i = i->ifa_next) {
		struct ipaddr a;

		if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET)
			continue;
		a = sockaddr_ip((const union sockaddr_any *)(const void *)i->ifa_addr);
		if (!ipaddr_is_loopback(&a)) {
			ipaddr_format(&a, text);
			break;
		}
	}
	freeifaddrs(all);
	return i != NULL;
}

static void test_exit_dials_what_is_allowed(void **unused)
{
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
	socklen_t len = sizeof(sin);
	char at[ADDR_STRLEN + 8], own[ADDR_STRLEN];

	(void)unused;
	if (!own_address(own)) /* a namespace with nothing but loopback */
		skip();
	assert_int_equal(bind(listener, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(listen(listener, 5), 0);
	getsockname(listener, (struct sockaddr *)&sin, &len);
	snprintf(at, sizeof(at), "%s:%u", own, ntohs(sin.sin_port));
	assert_int_equal(make_invite("laptop", "ana", "1h"), 0);
	join("ana", NULL);
	assert_int_equal(hello_laptop(), 0);
	assert_int_equal(dial(at), 0);
	close(listener);
	assert_int_equal(dial(at), -ECONNREFUSED);
	assert_int_equal(dial("10.66.0.1:80"), -EACCES); /* denied */
	assert_int_equal(dial("169.254.169.254:80"), -EACCES);
	assert_true(dial("127.0.0.1:80") < 0);
	member_stop(&me);
}

/* After a restart of the manager those who do not come back count as away, in the end for long enough. */
static void test_holder_that_is_gone_gives_way(void **unused)
{
	char text[1280];
	struct identity ana, bob;

	(void)unused;
	identity_generate(&ana);
	identity_generate(&bob);
	assert_int_equal(make_invite("laptop", "ana", "1h"), 0);
	assert_int_equal(make_invite("laptop", "bob", "1h"), 0);
	join("ana", &ana);
	assert_int_equal(hello_laptop(), 0);
	assert_int_equal(member_ask(&me, "intercept", request("hello", 3000, "")), 0);
	member_stop(&me);
	member_end(&manager, SIGTERM);
	snprintf(text, sizeof(text) - 32, config_text, port, member_dir);
	strcat(text, "holder-timeout: 1s\n");
	member_write("m.yaml", text);
	manager = member_serve(config);
	join("bob", &bob);
	assert_int_equal(hello_laptop(), 0);
	assert_int_equal(member_ask(&me, "intercept", request("hello", 3000, "")), RPC_CONFLICT);
	says("already intercepted by ana, as 'hello'");
	assert_true(member_logged(&me, "laptop ana: is away", 12000));
	assert_int_equal(member_ask(&me, "intercept", request("hello", 3000, "")), RPC_CONFLICT);
	member_run(&me, 1100);
	assert_int_equal(member_ask(&me, "intercept", request("hello", 3000, "")), 0);
	assert_true(member_logged(&me, "intercept hello of ana: ended", 1000));
}

/* --- between peers --------------------------------------------------------------------------------------------- */

static const char *dial_laptop(const struct ipaddr *to, json_int_t to_port)
{
	struct dialled d = {0};
	struct stream *s;

	if (netstack_connect(me.ns, &me.address, to, (uint16_t)to_port, NULL, NSEC_PER_SEC / 2, &s))
		return "impossible";
	stream_set(s, on_dialled, &d);
	s->ops->want(s, STREAM_WRITABLE);
	member_until(&me, &d.done, 1, 3000);
	return d.error ? strerror(-d.error) : "ok";
}

/*
 * The other member, in a child: an agent that says what its rules are, and what a connection to the laptop's port 20000 or,
 * once there is a rule, to the rule's port comes to; and to the next port, and at the laptop's other address to the rule's.
 * `laptop` is the laptop's stack address.
 */
static int be_agent(const char *dir, const char *laptop)
{
	struct ipaddr to, kernel;

	snprintf(member_dir, sizeof(member_dir), "%s", dir);
	join("hello-1", NULL);
	if (hello_agent("hello"))
		return 1;
	for (;;) {
		const json_t *rule = json_array_get(json_object_get(me.note, "rules"), 0);
		json_int_t to_port =
			rule ? json_integer_value(json_object_get(rule, "port")) : 20000;

		ipaddr_parse(&to, laptop);
		kernel = to;
		kernel.b[15] = 2;
		fprintf(stderr, "agent: rule %s, online %d, dial %s\n",
			rule ? text_of(rule, "intercept") : "none",
			json_is_true(json_object_get(rule, "online")), dial_laptop(&to, to_port));
		if (rule) {
			fprintf(stderr, "agent: next port: %s\n", dial_laptop(&to, to_port + 1));
			fprintf(stderr, "agent: kernel: %s\n", dial_laptop(&kernel, to_port));
		}
		member_run(&me, 50);
	}
}

static void accept_all(struct member *m, struct netstack_syn *syn, const struct flow *flow)
{
	(void)flow;
	netstack_accept(m->ns, syn);
}

static void test_hub_joins_only_by_intercept(void **unused)
{
	char laptop[ADDR_STRLEN];
	struct identity id;
	pid_t child;

	(void)unused;
	identity_generate(&id);
	assert_int_equal(make_invite("laptop", "ana", "1h"), 0);
	assert_int_equal(make_invite("agent", "hello-1", "1h"), 0);
	join("ana", &id);
	me.syn = accept_all;
	assert_int_equal(hello_laptop(), 0);
	ipaddr_format(&me.address, laptop);
	child = member_spawn((const char *const[]){"--as-agent", member_dir, laptop, NULL});
	assert_true(
		member_logged(&me, "agent: rule none, online 0, dial Connection timed out", 4000));
	assert_int_equal(member_ask(&me, "intercept", request("hello", 3000, "")), 0);
	assert_string_equal(text_of(json_object_get(me.result, "environment"), "K"), "V");
	assert_true(member_logged(&me, "agent: rule hello, online 1, dial ok", 4000));
	assert_string_equal(
		text_of(json_array_get(json_object_get(me.note, "intercepts"), 0), "state"),
		"ACTIVE");
	/* The way is as wide as the intercept: this laptop would take anything. */
	assert_true(member_logged(&me, "agent: kernel: Connection timed out", 4000));
	assert_true(member_logged(&me, "agent: next port: Connection timed out", 0));
	assert_int_equal(member_ask(&me, "leave", json_pack("{s:s}", "name", "hello")), 0);
	/* The agent goes on dialling, the laptop would go on accepting: the way between them is shut. */
	member_run(&me, 100);
	if (truncate(member_path("log"), 0))
		fail();
	assert_true(
		member_logged(&me, "agent: rule none, online 0, dial Connection timed out", 4000));
	assert_false(member_logged(&me, "dial ok", 0));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/* --- configuration ------------------------------------------------------------------------------------------- */

static void config_fails(const char *text, const char *sentence)
{
	pid_t pid;
	int status;

	member_write("bad.yaml", text);
	unlink(member_path("log"));
	pid = member_serve(member_path("bad.yaml"));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 2);
	if (!member_logged(NULL, sentence, 0))
		fail_msg("the log does not say '%s'", sentence);
}

static void test_bad_configuration_names_the_place(void **unused)
{
	(void)unused;
	config_fails("listen: 127.0.0.1:1\nstate: /tmp/x\nprefix: []\n",
		     "bad.yaml:3:1: unknown key 'prefix'; did you mean 'prefixes'?");
	config_fails("listen: localhost:1\nstate: /tmp/x\n", "bad.yaml:1:9: expected ADDRESS:PORT");
	config_fails("listen: 127.0.0.1:1\n", "bad.yaml:1:1: the key 'state' is missing");
	config_fails("listen: 127.0.0.1:1\nstate: /tmp/x\n"
		     "dns: {server: '127.0.0.53:53', domains: [a]}\n",
		     ":3:16: laptops ask this server through the overlay");
	config_fails("listen: 127.0.0.1:1\nstate: /tmp/x\nholder-timeout: 10\n",
		     "bad.yaml:3:17: expected a time");
	config_fails("listen: 127.0.0.1:1\nstate: /tmp/x\nworkloads:\n- {name: a, kind: pod}\n",
		     "bad.yaml:4:19: expected deployment, replicaset");
	config_fails("listen: 127.0.0.1:1\nstate: /tmp/x\nworkloads: [{name: a}, {name: a}]\n",
		     "bad.yaml:3:24: deployment 'a' of namespace 'default' is here twice");
	config_fails("listen: 127.0.0.1:1\nstate: /tmp/x\npool: fd00::/64\n",
		     "bad.yaml:3:7: the pool must be an IPv4");
}

#define PROGRAM(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		PROGRAM(test_laptop_is_welcomed),
		PROGRAM(test_invites_are_refused_with_the_reason),
		PROGRAM(test_wrong_secret_is_silence),
		PROGRAM(test_newer_invite_shuts_the_old_key_out),
		PROGRAM(test_agent_must_be_listed),
		PROGRAM(test_intercept_replace_leave),
		PROGRAM(test_holder_is_named),
		PROGRAM(test_killed_manager_comes_back_by_itself),
		PROGRAM(test_full_disk_changes_nothing),
		PROGRAM(test_state_edited_by_hand),
		PROGRAM(test_match_that_is_no_longer_understood_ends),
		PROGRAM(test_full_disk_is_logged_with_the_reason),
		PROGRAM(test_exit_dials_what_is_allowed),
		PROGRAM(test_holder_that_is_gone_gives_way),
		PROGRAM(test_hub_joins_only_by_intercept),
		cmocka_unit_test_setup_teardown(test_bad_configuration_names_the_place,
						member_folder, member_unfolder),
	};

	if (argc == 4 && !strcmp(argv[1], "--as-agent"))
		return crypto_init() || be_agent(argv[2], argv[3]);
	if (argc > 1)
		return manager_main(argc, argv); /* we are the child */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
