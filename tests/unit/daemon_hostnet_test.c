/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of requests to the helper, and what happens when it refuses, dies and comes back. The far end of the
 * socket is played here, message by message, with privsep/ as the real one does it.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "daemon/hostnet.h"

static char path[64];
static struct event_base *base;
static struct {
	unsigned ready, tun, up, lost, failed, undone;
	char text[512];
} seen;

static void on_ready(void *arg)
{
	(void)arg;
	seen.ready++;
}

static int on_tun(void *arg, int fd, struct error *e)
{
	(void)arg;
	(void)e;
	seen.tun++;
	close(fd);
	return 0;
}

static void on_up(void *arg)
{
	(void)arg;
	seen.up++;
}

static void on_lost(void *arg)
{
	(void)arg;
	seen.lost++;
}

static void on_failed(void *arg, const char *text)
{
	(void)arg;
	seen.failed++;
	snprintf(seen.text, sizeof(seen.text), "%s", text);
}

static void on_undone(void *arg)
{
	(void)arg;
	seen.undone++;
}

static const struct hostnet_ops ops = {
	.ready = on_ready, .tun = on_tun, .up = on_up, .lost = on_lost, .failed = on_failed};

static int listen_at_path(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	memcpy(sa.sun_path, path, strlen(path) + 1);
	unlink(path);
	assert_int_equal(bind(sock, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(sock, 4), 0);
	return sock;
}

static enum privsep_dns_way way = PRIVSEP_DNS_FILE;
static uint32_t asked_domains; /* by the last request for DNS */

/* Takes the request that must be `op` and answers it. */
static void serve_dns(int sock, uint32_t op, int code, const char *text, bool again)
{
	struct privsep_request req;
	struct privsep_answer ans = {.version = PRIVSEP_VERSION, .op = op, .code = code};
	int fds[2] = {-1, -1};
	unsigned n = code ? 0 : op == PRIVSEP_TUN ? 1 : op == PRIVSEP_DNS && !again ? 2 : 0, i;

	assert_int_equal(privsep_recv_request(sock, &req), 0);
	assert_int_equal(req.op, op);
	if (op == PRIVSEP_ROUTES)
		assert_int_equal(req.routes.n, 1);
	if (op == PRIVSEP_DNS)
		asked_domains = req.dns.ndomains;
	ans.dns_way = way;
	snprintf(ans.text, sizeof(ans.text), "%s", text);
	ans.nfds = n;
	snprintf(ans.tun_name, sizeof(ans.tun_name), "culvert7");
	for (i = 0; i < n; i++)
		fds[i] = socket(AF_INET,
				(op == PRIVSEP_DNS && i ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK,
				0);
	if (n == 2)
		assert_int_equal(listen(fds[1], 1), 0);
	assert_int_equal(privsep_send_answer(sock, &ans, fds, n), 0);
	for (i = 0; i < n; i++)
		close(fds[i]);
	event_base_loop(base, EVLOOP_ONCE);
}

static void serve(int sock, uint32_t op, int code, const char *text)
{
	serve_dns(sock, op, code, text, false);
}

static struct hostnet_config config(void)
{
	struct hostnet_config c = {.routes.n = 1, .dns.ndomains = 1};

	ipaddr_parse(&c.v4, "198.18.0.1");
	prefix_parse(&c.routes.p[0], "10.96.0.0/16");
	sockaddr_parse(&c.dns.cluster, "10.96.0.10:53");
	snprintf(c.dns.domain[0], sizeof(c.dns.domain[0]), "cluster.local");
	return c;
}

static void serve_all(int sock)
{
	serve(sock, PRIVSEP_TUN, 0, "");
	serve(sock, PRIVSEP_ROUTES, 0, "");
	serve(sock, PRIVSEP_DNS, 0, "");
}

static int begin(struct hostnet **h, int *listening)
{
	struct hostnet_config c = config();
	struct error e;
	int sock;

	memset(&seen, 0, sizeof(seen));
	*listening = listen_at_path();
	assert_int_equal(hostnet_new(h, base, &ops, NULL, &e), 0);
	sock = accept(*listening, NULL, NULL);
	serve(sock, PRIVSEP_HELLO, 0, "");
	assert_int_equal(seen.ready, 1);
	hostnet_apply(*h, &c);
	return sock;
}

static void nobody_there(void **state)
{
	struct hostnet *h;
	struct error e;

	(void)state;
	unlink(path);
	assert_int_not_equal(hostnet_new(&h, base, &ops, NULL, &e), 0);
	assert_non_null(strstr(e.text, "sudo culvert-helper"));
}

static void up_and_undone_in_order(void **state)
{
	struct hostnet *h;
	int listening, sock = begin(&h, &listening);

	(void)state;
	serve_all(sock);
	assert_true(hostnet_up(h));
	assert_string_equal(hostnet_tun_name(h), "culvert7");
	assert_int_equal(seen.tun + seen.up, 2);
	hostnet_undo(h, on_undone, NULL);
	assert_int_equal(seen.lost, 1); /* the TUN is let go of before it is asked for */
	serve(sock, PRIVSEP_UNDO, 0, "");
	assert_int_equal(seen.undone, 1);
	hostnet_free(h);
	close(sock);
	close(listening);
}

static void a_refusal_at_first_is_told(void **state)
{
	struct hostnet *h;
	int listening, sock = begin(&h, &listening);

	(void)state;
	serve(sock, PRIVSEP_TUN, 0, "");
	serve(sock, PRIVSEP_ROUTES, -EADDRINUSE, "10.96.0.0/16 is the network of vpn0");
	assert_int_equal(seen.failed, 1);
	assert_string_equal(seen.text, "10.96.0.0/16 is the network of vpn0");
	assert_int_equal(seen.lost, 1);
	assert_false(hostnet_up(h));
	hostnet_undo(h, on_undone, NULL); /* closed already, so at once */
	assert_int_equal(seen.undone, 1);
	hostnet_free(h);
	close(sock);
	close(listening);
}

/* The helper dies when all is up: the TUN goes at once, and all is made again when it is back. */
static void it_dies_and_comes_back(void **state)
{
	struct hostnet *h;
	int listening, sock = begin(&h, &listening);

	(void)state;
	serve_all(sock);
	close(sock);
	close(listening);
	unlink(path);
	event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(seen.lost, 1);
	assert_string_equal(hostnet_tun_name(h), "");
	assert_non_null(strstr(hostnet_trouble(h), "culvert-helper"));
	event_base_loop(base, EVLOOP_ONCE); /* a try in vain */
	assert_int_equal(seen.failed, 0);
	listening = listen_at_path();
	event_base_loop(base, EVLOOP_ONCE);
	sock = accept(listening, NULL, NULL);
	serve(sock, PRIVSEP_HELLO, 0, "");
	serve_all(sock);
	assert_true(hostnet_up(h));
	assert_int_equal(seen.tun, 2);
	assert_string_equal(hostnet_trouble(h), "");
	hostnet_free(h);
	close(sock);
	close(listening);
}

static void the_same_again_asks_nothing(void **state)
{
	struct hostnet_config c = config();
	struct hostnet *h;
	struct privsep_request req;
	int listening, sock = begin(&h, &listening);

	(void)state;
	serve_all(sock);
	hostnet_apply(h, &c);
	assert_true(hostnet_up(h));
	prefix_parse(&c.routes.p[0], "10.97.0.0/16");
	hostnet_apply(h, &c);
	assert_int_equal(seen.lost, 1);
	serve(sock, PRIVSEP_UNDO, 0, "");
	assert_int_equal(privsep_recv_request(sock, &req), 0);
	assert_int_equal(req.op, PRIVSEP_TUN);
	hostnet_free(h);
	close(sock);
	close(listening);
}

/* A namespace has come: the stub is told, the helper is not asked, the TUN stays. */
static void other_domains_undo_nothing(void **state)
{
	struct hostnet_config c = config();
	struct hostnet *h;
	char byte;
	int listening, sock = begin(&h, &listening);

	(void)state;
	serve_all(sock);
	c.dns.ndomains = 2;
	snprintf(c.dns.domain[1], sizeof(c.dns.domain[1]), "team");
	hostnet_apply(h, &c);
	assert_true(hostnet_up(h));
	assert_int_equal(seen.lost, 0);
	assert_int_equal(hostnet_config(h)->dns.ndomains, 2);
	assert_int_equal(recv(sock, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	hostnet_free(h);
	close(sock);
	close(listening);
}

/* systemd-resolved has to know them: asked again, in place; also for what comes meanwhile. */
static void other_domains_are_told_to_resolved(void **state)
{
	struct hostnet_config c = config();
	struct hostnet *h;
	char byte;
	int listening, sock = begin(&h, &listening);

	(void)state;
	way = PRIVSEP_DNS_RESOLVED;
	serve_all(sock);
	assert_int_equal(asked_domains, 1);
	for (unsigned i = 1; i < 4; i++) {
		snprintf(c.dns.domain[i], sizeof(c.dns.domain[i]), "team-%u", i);
		c.dns.ndomains = i + 1;
		hostnet_apply(h, &c);
		assert_true(hostnet_up(h));
	}
	serve_dns(sock, PRIVSEP_DNS, 0, "", true);
	assert_int_equal(asked_domains, 2); /* while the others came */
	serve_dns(sock, PRIVSEP_DNS, -ETIMEDOUT, "resolved is busy", true);
	assert_int_equal(asked_domains, 4);
	assert_true(hostnet_up(h)); /* the helper goes on trying */
	assert_int_equal(seen.lost + seen.failed, 0);
	assert_int_equal(seen.up, 1);
	hostnet_apply(h, &c);
	assert_int_equal(recv(sock, &byte, 1, MSG_DONTWAIT), -1);
	way = PRIVSEP_DNS_FILE;
	hostnet_free(h);
	close(sock);
	close(listening);
}

static int set_up(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "/tmp/culvert-hostnet-%d.sock", (int)getpid());
	setenv("CULVERT_HELPER", path, 1);
	base = event_base_new();
	return base ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(path);
	event_base_free(base);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_there),
		cmocka_unit_test(up_and_undone_in_order),
		cmocka_unit_test(a_refusal_at_first_is_told),
		cmocka_unit_test(it_dies_and_comes_back),
		cmocka_unit_test(the_same_again_asks_nothing),
		cmocka_unit_test(other_domains_undo_nothing),
		cmocka_unit_test(other_domains_are_told_to_resolved),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
