/* SPDX-License-Identifier: Apache-2.0 */
/* The agent as a program before a UDP port. What it sends to the laptop comes to us, and we are the application, too. */
#include "tests/unit/agent_world.h"

#define TOKEN "token"

enum { ROOM = 65536, INTAKE = 20000 };

static int pod = -1; /* the application's socket */
static unsigned at_laptop, at_pod, probes;

static uint16_t port(unsigned n)
{
	return (uint16_t)(base_port + n);
}

static int udp_socket(int family, uint16_t at, bool listening)
{
	struct ipaddr loopback = {.family = family == AF_INET ? 4 : 6};
	union sockaddr_any sa;
	int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	ipaddr_parse(&loopback, family == AF_INET ? "127.0.0.1" : "::1");
	sa = sockaddr_from(&loopback, at);
	assert_true(fd >= 0);
	if (listening)
		assert_int_equal(bind(fd, &sa.sa, sockaddr_len(&sa)), 0);
	else
		assert_int_equal(connect(fd, &sa.sa, sockaddr_len(&sa)), 0);
	return fd;
}

/* --- the laptop -------------------------------------------------------------------------------------------------- */

static void on_probe(struct member *m, struct netstack_syn *syn, const struct flow *flow)
{
	if (flow->dport == 1) {
		netstack_accept(m->ns, syn);
		return;
	}
	assert_int_equal(flow->dport, INTAKE);
	probes++;
	netstack_reject(m->ns, syn, laptop == LAPTOP_SILENT ? REJECT_SILENT : REJECT_REFUSED);
}

static void on_datagram(struct member *m, const struct flow *flow, const uint8_t *data, size_t len)
{
	static uint8_t answer[ROOM];

	assert_int_equal(flow->dport, INTAKE);
	at_laptop++;
	if (laptop == LAPTOP_REFUSES)
		netstack_udp_refuse(m->ns, flow);
	if (laptop != LAPTOP_SERVES)
		return;
	memcpy(answer, "laptop", 6);
	memcpy(answer + 6, data, len);
	netstack_udp_reply(m->ns, flow, answer, len + 6);
}

/* --- setup ------------------------------------------------------------------------------------------------------- */

static int setup(void **unused)
{
	char key[KEY_TEXT_LEN], text[1024];

	if (member_folder(unused))
		return -1;
	base_port = port(4);
	laptop = LAPTOP_SERVES;
	hellos = at_laptop = at_pod = probes = 0;
	identity_generate(&manager_key);
	key_format(manager_key.pub, key);
	snprintf(text, sizeof(text),
		 "{\"manager\":\"%s\",\"endpoints\":[\"127.0.0.1:%u\"],\"kind\":\"deployment\","
		 "\"workload\":\"ns\",\"ports\":[{\"listen\":%u,\"application\":%u,"
		 "\"target\":53,\"protocol\":\"udp\"}]}",
		 key, base_port, port(1), port(2));
	setenv("CULVERT_AGENT", text, 1);
	setenv("CULVERT_POD_IP", "127.0.0.1", 1);
	setenv("CULVERT_TOKEN", member_path("token"), 1);
	member_write("token", TOKEN);
	pod = udp_socket(AF_INET, port(2), true);
	start_manager();
	me.token = TOKEN;
	me.syn = on_probe;
	me.udp = on_datagram;
	unlink(member_path("log"));
	agent = member_spawn((const char *const[]){"--kubernetes", NULL});
	assert_true(member_until(&me, &hellos, 1, 5000));
	assert_true(member_logged(&me, "/udp: stands for port 53", 3000));
	return 0;
}

static int teardown(void **unused)
{
	stop_manager();
	member_end(&agent, SIGTERM);
	close(pod);
	return member_unfolder(unused);
}

static void rules(const char *protocol, const char *on_down, bool online)
{
	char address[ADDR_STRLEN];

	ipaddr_format(&me.address, address);
	assert_int_equal(
		member_ask(&me, "rules",
			   json_pack("{s:[{s:s, s:s, s:i, s:s, s:s, s:i, s:s, s:i, s:b}]}", "rules",
				     "intercept", "ns", "owner", "ana", "target", 53, "protocol",
				     protocol, "address", address, "port", INTAKE, "on_down",
				     on_down, "hold_s", 0, "online", online)),
		0);
}

/* --- the client -------------------------------------------------------------------------------------------------- */

static void pod_answers(void)
{
	static uint8_t buf[ROOM];
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	ssize_t n = recvfrom(pod, buf + 3, sizeof(buf) - 3, 0, (struct sockaddr *)&from, &from_len);

	if (n < 0)
		return;
	at_pod++;
	memcpy(buf, "pod", 3);
	sendto(pod, buf, (size_t)n + 3, 0, (struct sockaddr *)&from, from_len);
}

/* Who answers what this socket has asked, "" = nobody within `ms`; the answer must bring the question back. */
static const char *answer(int fd, const char *question, size_t len, unsigned ms)
{
	static char buf[ROOM];
	nsec_t end = clock_boot() + ms * NSEC_PER_MSEC;
	ssize_t n = -1;

	while (n < 0 && clock_boot() < end) {
		pod_answers();
		member_run(&me, 5);
		n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
	}
	if (n < 0)
		return "";
	assert_true((size_t)n > len);
	assert_memory_equal(buf + n - len, question, len);
	buf[(size_t)n - len] = '\0';
	return buf;
}

static const char *ask_by(int fd, const char *question, unsigned ms)
{
	assert_int_equal(send(fd, question, strlen(question), 0), strlen(question));
	return answer(fd, question, strlen(question), ms);
}

static const char *who_answers(void)
{
	int fd = udp_socket(AF_INET, port(1), false);
	const char *who = ask_by(fd, "question", 3000);

	close(fd);
	return who;
}

static bool comes_to(const char *who, unsigned ms)
{
	nsec_t end = clock_boot() + ms * NSEC_PER_MSEC;

	while (strcmp(who_answers(), who)) {
		if (clock_boot() > end)
			return false;
	}
	return true;
}

/* --- tests ------------------------------------------------------------------------------------------------------- */

static void test_each_client_gets_its_own_answers(void **unused)
{
	int a = udp_socket(AF_INET, port(1), false), b = udp_socket(AF_INET6, port(1), false);

	(void)unused;
	for (int i = 0; i < 2; i++) {
		const char *who = i ? "laptop" : "pod";

		assert_int_equal(send(a, "from a", 6, 0), 6);
		assert_int_equal(send(b, "from b", 6, 0), 6);
		assert_string_equal(answer(b, "from b", 6, 3000), who);
		assert_string_equal(answer(a, "from a", 6, 3000), who);
		rules("udp", "pod", true); /* both move at once */
	}
	assert_int_equal(at_pod, 2);
	assert_int_equal(at_laptop, 2);
	close(a);
	close(b);
}

static void test_tcp_rule_of_the_same_number_is_another(void **unused)
{
	(void)unused;
	rules("tcp", "pod", true);
	assert_string_equal(who_answers(), "pod");
	rules("udp", "pod", true);
	assert_string_equal(who_answers(), "laptop");
}

static void test_large_datagrams(void **unused)
{
	static char big[40000];
	int fd = udp_socket(AF_INET, port(1), false);

	(void)unused;
	rules("udp", "pod", true);
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)(i * 7);
	assert_int_equal(send(fd, big, sizeof(big), 0), sizeof(big));
	assert_string_equal(answer(fd, big, sizeof(big), 5000), "laptop");
	close(fd);
}

static void test_refused_goes_to_the_pod_and_none_is_lost(void **unused)
{
	(void)unused;
	rules("udp", "pod", true);
	laptop = LAPTOP_REFUSES;
	for (int i = 0; i < 20; i++)
		assert_string_equal(who_answers(), "pod");
	assert_true(at_laptop >= 1 && at_laptop <= 2); /* the others did not even go there */
	laptop = LAPTOP_SERVES;
	assert_true(comes_to("laptop", 6000));
}

/* Not everything is answered: one that is there and says nothing keeps its datagrams. */
static void test_silence_alone_is_no_absence(void **unused)
{
	int fd = udp_socket(AF_INET, port(1), false);

	(void)unused;
	rules("udp", "pod", true);
	me.udp = NULL; /* a sink */
	for (int i = 0; i < 10; i++)
		assert_string_equal(ask_by(fd, "measured: 7", 400), "");
	assert_int_equal(at_pod, 0);
	assert_true(probes >= 1 && probes <= 4);
	close(fd);
}

static void test_absent_laptop(void **unused)
{
	(void)unused;
	rules("udp", "pod", true);
	assert_string_equal(who_answers(), "laptop");
	laptop = LAPTOP_SILENT;
	assert_true(comes_to("pod", 8000));
	at_laptop = 0;
	assert_string_equal(who_answers(), "pod");
	assert_int_equal(at_laptop, 0);
	laptop = LAPTOP_SERVES;
	assert_true(comes_to("laptop", 8000));
	rules("udp", "pod", false); /* the manager knows */
	at_laptop = probes = 0;
	assert_string_equal(who_answers(), "pod");
	assert_int_equal(at_laptop + probes, 0);
}

static json_int_t told_fallback(void)
{
	const json_t *totals = json_object_get(me.note, "fallback");

	return json_integer_value(json_object_get(totals, "ana/ns"));
}

static void test_hold_is_pod_and_fail_is_nobody(void **unused)
{
	int fd = udp_socket(AF_INET, port(1), false);

	(void)unused;
	rules("udp", "hold", false);
	assert_string_equal(who_answers(), "pod");
	rules("udp", "fail", false);
	assert_string_equal(ask_by(fd, "question", 300), "");
	assert_int_equal(at_pod, 1);
	/* Both are told. */
	for (int i = 0; i < 60 && told_fallback() != 2; i++)
		member_run(&me, 50);
	assert_int_equal(told_fallback(), 2);
	close(fd);
}

#define PROGRAM(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		PROGRAM(test_each_client_gets_its_own_answers),
		PROGRAM(test_tcp_rule_of_the_same_number_is_another),
		PROGRAM(test_large_datagrams),
		PROGRAM(test_refused_goes_to_the_pod_and_none_is_lost),
		PROGRAM(test_silence_alone_is_no_absence),
		PROGRAM(test_absent_laptop),
		PROGRAM(test_hold_is_pod_and_fail_is_nobody),
	};

	if (argc > 1)
		return agent_main(argc, argv); /* we are the child */
	return cmocka_run_group_tests(tests, alone, NULL);
}
