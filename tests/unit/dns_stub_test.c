/* SPDX-License-Identifier: Apache-2.0 */
/* The forwarder: whose a name is, over UDP and TCP, with servers that are there, silent or gone. */
#include "dns_lab.h"

static void names_of_the_cluster(void **state)
{
	(void)state;
	stub_start(CLUSTER, LOCAL, 0);
	assert_string_equal(dig("+short web.shop.svc.cluster.local A"), "10.96.1.5\n");
	assert_string_equal(dig("+short WEB.shop.svc.CLUSTER.local AAAA"), "fd00:10::5\n");
	assert_string_equal(dig("+short _http._tcp.web.shop.svc.cluster.local SRV"),
			    "0 0 80 web.shop.svc.cluster.local.\n");
	assert_has(dig("nothing.cluster.local A"), "status: NXDOMAIN");
	assert_int_equal(dns_stub_stats(stub)->cluster, 4);
	assert_int_equal(dns_stub_stats(stub)->local, 0);
}

static void all_else_stays_local(void **state)
{
	(void)state;
	stub_start(CLUSTER, LOCAL, 0);
	assert_string_equal(dig("+short printer.lan A"), "192.0.2.7\n");
	assert_has(dig("web.shop.svc.cluster.local.lan A"), "status: NXDOMAIN");
	assert_int_equal(dns_stub_stats(stub)->cluster, 0);
	assert_int_equal(dns_stub_stats(stub)->local, 2);
}

static void large_answers_over_tcp(void **state)
{
	(void)state;
	stub_start(CLUSTER, LOCAL, 0);
	assert_has(dig("+ignore +bufsize=512 big.cluster.local TXT"), " tc ");
	assert_int_equal(dns_stub_stats(stub)->tcp, 0);
	/* Of itself dig asks again over TCP. */
	const char *text = dig("big.cluster.local TXT");
	assert_has(text, "ANSWER: 12,");
	assert_has(text, "(TCP)");
	assert_int_equal(dns_stub_stats(stub)->tcp, 1);
	assert_string_equal(dig("+tcp +short printer.lan A"), "192.0.2.7\n");
}

static void edns_reaches_the_server(void **state)
{
	(void)state;
	stub_start(CLUSTER, LOCAL, 0);
	/* 12 strings of 200 bytes do not fit into 1232 but do into 4096, if the server sees the
	 * option. */
	const char *text = dig("+ignore +bufsize=4096 big.cluster.local TXT");
	assert_has(text, "ANSWER: 12,");
	assert_has(text, "(UDP)");
}

static void the_next_resolver_when_one_refuses(void **state)
{
	(void)state;
	stub_start(CLUSTER, NOBODY, LOCAL);
	nsec_t start = clock_boot();
	assert_string_equal(dig("+short printer.lan A"), "192.0.2.7\n");
	assert_string_equal(dig("+tcp +short printer.lan A"), "192.0.2.7\n");
	assert_true(clock_boot() - start < NSEC_PER_SEC);
}

static void the_next_resolver_when_one_is_silent(void **state)
{
	int silent = bound(SOCK_DGRAM, at(TEST, 53)), silent_tcp = bound(SOCK_STREAM, at(TEST, 53));

	(void)state;
	stub_start(CLUSTER, TEST, LOCAL);
	nsec_t start = clock_boot();
	assert_string_equal(dig("+short printer.lan A"), "192.0.2.7\n");
	assert_string_equal(dig("+tcp +short printer.lan A"), "192.0.2.7\n");
	nsec_t took = clock_boot() - start;
	assert_true(took > 3 * NSEC_PER_SEC && took < 5 * NSEC_PER_SEC);
	close(silent);
	close(silent_tcp);
}

static void without_a_resolver_refused(void **state)
{
	(void)state;
	stub_start(CLUSTER, 0, 0);
	assert_has(dig("printer.lan A"), "status: REFUSED");
	assert_has(dig("+tcp printer.lan A"), "status: REFUSED");
	stub_stop(NULL);
	stub_start(CLUSTER, NOBODY, 0);
	assert_has(dig("printer.lan A"), "status: REFUSED");
	assert_has(dig("+tcp printer.lan A"), "status: REFUSED");
}

static void never_asks_itself(void **state)
{
	struct dns_config cfg = {.cluster = at(CLUSTER, 53),
				 .nresolvers = 2,
				 .resolver = {stub_addr(), at(LOCAL, 53)}};

	(void)state;
	stub_start(CLUSTER, LOCAL, 0);
	dns_stub_set(stub, &cfg);
	assert_string_equal(dig("+short printer.lan A"), "192.0.2.7\n");
	assert_int_equal(dns_stub_stats(stub)->local, 1);
}

/* --- by hand ---------------------------------------------------------------------------------- */

static void silence_is_no_answer(void **state)
{
	uint8_t buf[512];
	int silent = bound(SOCK_DGRAM, at(TEST, 53)), client = client_udp();

	(void)state;
	stub_start(TEST, LOCAL, 0);
	assert_int_equal(send(client, question, QUESTION, 0), QUESTION);
	run_for(4500);
	assert_int_equal(dns_stub_stats(stub)->timeouts, 0);
	run_for(1000);
	assert_int_equal(dns_stub_stats(stub)->timeouts, 1);
	assert_int_equal(stub->npending, 0);
	assert_int_equal(recv(client, buf, sizeof(buf), 0), -1);
	/* Nobody listens: known at once, and still no answer about names of the cluster. */
	close(silent);
	assert_int_equal(send(client, question, QUESTION, 0), QUESTION);
	run_for(100);
	assert_int_equal(dns_stub_stats(stub)->timeouts, 2);
	assert_int_equal(recv(client, buf, sizeof(buf), 0), -1);
	close(client);
}

static void forged_answers_are_dropped(void **state)
{
	uint8_t buf[512];
	int server = bound(SOCK_DGRAM, at(TEST, 53)), client = client_udp();
	union sockaddr_any from;
	socklen_t len = sizeof(from);

	(void)state;
	stub_start(TEST, LOCAL, 0);
	assert_int_equal(send(client, question, QUESTION, 0), QUESTION);
	run_for(50);
	assert_int_equal(recvfrom(server, buf, sizeof(buf), 0, &from.sa, &len), QUESTION);
	assert_memory_equal(buf + 2, question + 2, QUESTION - 2);

	buf[2] |= DNS_QR;
	buf[0] ^= 1; /* another id */
	sendto(server, buf, QUESTION, 0, &from.sa, len);
	buf[0] ^= 1;
	buf[DNS_HEADER + 1] = 'x'; /* another name */
	sendto(server, buf, QUESTION, 0, &from.sa, len);
	buf[DNS_HEADER + 1] = 'w';
	buf[2] &= 0x7f; /* no answer at all */
	sendto(server, buf, QUESTION, 0, &from.sa, len);
	/* Right, but from another address than was asked. */
	buf[2] |= DNS_QR;
	int stranger = bound(SOCK_DGRAM, at(TEST + 1, 53));
	sendto(stranger, buf, QUESTION, 0, &from.sa, len);
	run_for(50);
	assert_int_equal(recv(client, buf + 256, 256, 0), -1);
	assert_int_equal(dns_stub_stats(stub)->malformed, 3);

	sendto(server, buf, QUESTION, 0, &from.sa, len);
	run_for(50);
	assert_int_equal(recv(client, buf, sizeof(buf), 0), QUESTION);
	assert_memory_equal(buf, question, 2);		 /* the client's own id */
	sendto(server, buf, QUESTION, 0, &from.sa, len); /* once is enough */
	run_for(50);
	assert_int_equal(recv(client, buf, sizeof(buf), 0), -1);
	close(stranger);
	close(server);
	close(client);
}

static void ids_and_ports_are_random(void **state)
{
	int server = bound(SOCK_DGRAM, at(TEST, 53)), client = client_udp();
	unsigned ids = 0, ports = 0;
	uint16_t id[32], port[32];

	(void)state;
	stub_start(TEST, LOCAL, 0);
	for (int i = 0; i < 32; i++) {
		uint8_t buf[512];
		union sockaddr_any from;
		socklen_t len = sizeof(from);

		send(client, question, QUESTION, 0);
		run_for(5);
		assert_int_equal(recvfrom(server, buf, sizeof(buf), 0, &from.sa, &len), QUESTION);
		id[i] = get_be16(buf);
		port[i] = sockaddr_port(&from);
		bool new_id = true, new_port = true;
		for (int j = 0; j < i; j++) {
			new_id &= id[j] != id[i];
			new_port &= port[j] != port[i];
		}
		ids += new_id;
		ports += new_port;
	}
	assert_true(ids >= 30);
	assert_true(ports >= 4 && ports <= UPSTREAM_SOCKETS);
	close(server);
	close(client);
}

static void pending_queries_are_bounded(void **state)
{
	int server = bound(SOCK_DGRAM, at(TEST, 53)), client = client_udp();

	(void)state;
	stub_start(TEST, LOCAL, 0);
	for (int i = 0; i < DNS_PENDING_MAX + 100; i++) {
		assert_int_equal(send(client, question, QUESTION, 0), QUESTION);
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_int_equal(stub->npending, DNS_PENDING_MAX);
	assert_int_equal(dns_stub_stats(stub)->dropped, 100);
	send(client, "garbage", 7, 0);
	send(client, question, QUESTION - 3, 0);
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_int_equal(dns_stub_stats(stub)->malformed, 2);
	close(server);
	close(client);
}

static int client_tcp(void)
{
	union sockaddr_any sa = stub_addr();
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, &sa.sa, sizeof(sa.in)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void send_tcp(int fd, int queries)
{
	uint8_t buf[20 * (2 + QUESTION)];

	for (int i = 0; i < queries; i++) {
		uint8_t *at_ = buf + i * (2 + QUESTION);
		put_be16(at_, QUESTION);
		memcpy(at_ + 2, question, QUESTION);
		put_be16(at_ + 2, (uint16_t)i);
	}
	assert_int_equal(write(fd, buf, (size_t)queries * (2 + QUESTION)),
			 queries * (2 + QUESTION));
}

/* Reads until `queries` answers are there, each to an id of its own. */
static void answers_tcp(int fd, int queries)
{
	uint8_t buf[65536];
	size_t len = 0, at_ = 0;
	uint32_t seen = 0;

	for (int tries = 0; tries < 100 && seen != (1U << queries) - 1; tries++) {
		ssize_t n = read(fd, buf + len, sizeof(buf) - len);

		assert_true(n != 0);
		if (n > 0)
			len += (size_t)n;
		while (len - at_ >= 2 && len - at_ >= 2U + get_be16(buf + at_)) {
			seen |= 1U << get_be16(buf + at_ + 2);
			at_ += 2U + get_be16(buf + at_);
		}
		run_for(20);
	}
	assert_int_equal(seen, (1U << queries) - 1);
}

static void tcp_clients_may_pipeline(void **state)
{
	uint8_t c;
	int fd;

	(void)state;
	stub_start(CLUSTER, LOCAL, 0);
	fd = client_tcp();
	send_tcp(fd, 20); /* more than are asked at once */
	shutdown(fd, SHUT_WR);
	answers_tcp(fd, 20);
	run_for(20);
	assert_int_equal(read(fd, &c, 1), 0); /* said all: closed */
	assert_int_equal(stub->nclients, 0);
	close(fd);
}

static void tcp_clients_are_bounded(void **state)
{
	int fd[DNS_TCP_CLIENTS + 1];
	uint8_t c;

	(void)state;
	stub_start(CLUSTER, LOCAL, 0);
	for (int i = 0; i <= DNS_TCP_CLIENTS; i++)
		fd[i] = client_tcp();
	send_tcp(fd[DNS_TCP_CLIENTS], 1);
	run_for(100);
	assert_int_equal(stub->nclients, DNS_TCP_CLIENTS);
	assert_int_equal(read(fd[DNS_TCP_CLIENTS], &c, 1), -1);
	close(fd[0]);
	answers_tcp(fd[DNS_TCP_CLIENTS], 1);
	/* Nonsense ends the connection. */
	assert_int_equal(write(fd[1], "\0\5hello", 7), 7);
	run_for(50);
	assert_int_equal(read(fd[1], &c, 1), 0);
	for (int i = 1; i <= DNS_TCP_CLIENTS; i++)
		close(fd[i]);
}

static void waits_for_descriptors(void **state)
{
	struct rlimit all, few;
	struct timespec cpu;
	int fd;

	(void)state;
	stub_start(CLUSTER, LOCAL, 0);
	run_for(5); /* the loop closes what the test before has freed */
	fd = client_tcp();
	int lowest = dup(fd); /* the number that the next descriptor would have */
	close(lowest);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &all), 0);
	few = (struct rlimit){.rlim_cur = (rlim_t)lowest, .rlim_max = all.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	nsec_t before = (nsec_t)cpu.tv_sec * NSEC_PER_SEC + (nsec_t)cpu.tv_nsec;
	send_tcp(fd, 1);
	run_for(500);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	nsec_t used = (nsec_t)cpu.tv_sec * NSEC_PER_SEC + (nsec_t)cpu.tv_nsec - before;
	assert_int_equal(stub->nclients, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &all), 0);
	assert_true(used < 100 * NSEC_PER_MSEC);
	answers_tcp(fd, 1);
	close(fd);
}

/* The laptop's address; the server's is local too, so that its answers find the way. */
static int wear(const char *addr)
{
	char cmd[256];

	snprintf(cmd, sizeof(cmd),
		 "ip addr flush dev lo to 10.9.0.0/24; ip addr add %s/32 dev lo && "
		 "ip route replace local 192.0.2.53 dev lo table local src %s",
		 addr, addr);
	return system(cmd);
}

static void another_wifi(void **state)
{
	struct dns_config cfg = {.nresolvers = 1};
	int client = client_udp();
	uint8_t buf[512];

	(void)state;
	assert_int_equal(system("ip addr add 192.0.2.53/32 dev lo"), 0);
	assert_int_equal(wear("10.9.0.2"), 0);
	assert_int_equal(sockaddr_parse(&cfg.resolver[0], "192.0.2.53:53"), 0);
	int server = bound(SOCK_DGRAM, cfg.resolver[0]);
	stub_start(TEST, LOCAL, 0);
	dns_stub_set(stub, &cfg);
	for (int i = 0; i < 80; i++) {
		union sockaddr_any from;
		socklen_t len = sizeof(from);
		char text[ADDR_STRLEN];

		if (i == 40)
			assert_int_equal(wear("10.9.0.3"), 0);
		assert_int_equal(send(client, question, QUESTION, 0), QUESTION);
		run_for(5);
		assert_int_equal(recvfrom(server, buf, sizeof(buf), 0, &from.sa, &len), QUESTION);
		struct ipaddr ip = sockaddr_ip(&from);
		assert_string_equal(ipaddr_format(&ip, text), i < 40 ? "10.9.0.2" : "10.9.0.3");
		buf[2] |= DNS_QR;
		sendto(server, buf, QUESTION, 0, &from.sa, len);
		run_for(5);
		assert_int_equal(recv(client, buf, sizeof(buf), 0), QUESTION);
	}
	close(server);
	close(client);
	system("ip addr flush dev lo to 10.9.0.0/24; ip addr del 192.0.2.53/32 dev lo");
}

static void freed_with_everything_under_way(void **state)
{
	int silent = bound(SOCK_DGRAM, at(TEST, 53)), silent_tcp = bound(SOCK_STREAM, at(TEST, 53));
	int udp = client_udp(), tcp;

	(void)state;
	stub_start(TEST, LOCAL, 0);
	tcp = client_tcp();
	send(udp, question, QUESTION, 0);
	send_tcp(tcp, 3);
	run_for(50);
	assert_int_equal(stub->npending, 1);
	assert_int_equal(stub->nclients, 1);
	stub_stop(NULL);
	run_for(20);
	close(udp);
	close(tcp);
	close(silent);
	close(silent_tcp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(names_of_the_cluster),
		test(all_else_stays_local),
		test(large_answers_over_tcp),
		test(edns_reaches_the_server),
		test(the_next_resolver_when_one_refuses),
		test(the_next_resolver_when_one_is_silent),
		test(without_a_resolver_refused),
		test(never_asks_itself),
		test(silence_is_no_answer),
		test(forged_answers_are_dropped),
		test(ids_and_ports_are_random),
		test(pending_queries_are_bounded),
		test(tcp_clients_may_pipeline),
		test(tcp_clients_are_bounded),
		test(waits_for_descriptors),
		test(another_wifi),
		test(freed_with_everything_under_way),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
