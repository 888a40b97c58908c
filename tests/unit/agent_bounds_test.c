/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's bounds of time and number: heads that do not end, legs that nobody uses. Its clock can be put forward. */
#include <sys/syscall.h>
#include <time.h>

#include "agent/internal.h"
#include "tests/unit/agent_world.h"

/* Connections of HTTP/2 whose bytes are few and fixed. */
enum { CLIENTS = 300, IDLE_LEGS = 256, LEG_IDLE_S = 5, SOME_S = 10 };

/* --- the agent's clock -------------------------------------------------------------------------------------------- */

static volatile sig_atomic_t ahead_s;

/* In libc's place, for libevent, too. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
	int r = (int)syscall(SYS_clock_gettime, id, ts);

	if (r == 0)
		ts->tv_sec += ahead_s;
	return r;
}

static void on_forward(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	ahead_s += info->si_value.sival_int;
}

/* We are the agent. */
static void listen_for_time(void)
{
	struct sigaction sa = {.sa_sigaction = on_forward, .sa_flags = SA_SIGINFO};

	sigaction(SIGUSR2, &sa, NULL);
}

static void forward(int seconds)
{
	assert_int_equal(sigqueue(agent, SIGUSR2, (union sigval){.sival_int = seconds}), 0);
}

/* --- setup --------------------------------------------------------------------------------------------------------- */

static int setup(void **unused)
{
	if (world_setup(unused))
		return -1;
	world_start(false, NULL);
	push(json_pack("[o]", http_rule("pod", true, false)));
	return 0;
}

static int accepted(void)
{
	nsec_t end = clock_boot() + 5 * NSEC_PER_SEC;
	int fd = -1;

	while (fd < 0 && clock_boot() < end) {
		member_run(&me, 2);
		fd = accept4(application, NULL, NULL, SOCK_CLOEXEC);
	}
	assert_true(fd >= 0);
	return fd;
}

static void hears(int fd, const char *text)
{
	size_t len = strlen(text);
	nsec_t end = clock_boot() + 5 * NSEC_PER_SEC;
	char buf[64];

	while (recv(fd, buf, len, MSG_PEEK | MSG_DONTWAIT) < (ssize_t)len && clock_boot() < end)
		member_run(&me, 2);
	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), len);
	assert_memory_equal(buf, text, len);
}

static void hears_nothing(int fd)
{
	char c;

	member_run(&me, 60);
	assert_int_equal(recv(fd, &c, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

/* --- heads ----------------------------------------------------------------------------------------------------------- */

static json_int_t slow_heads(void)
{
	const json_t *port = json_object_get(json_object_get(me.note, "trouble"), "8080");

	return json_integer_value(json_object_get(port, "slow_heads"));
}

/* What begins like a head and does not end in HEAD_S is the application's, as it came; it may be slow from there on. */
static void test_heads_that_do_not_end(void **unused)
{
	static const char *const begins[] = {"GET / HT", "GE"};
	int fd[2], app[2];
	nsec_t end;

	(void)unused;
	for (int i = 0; i < 2; i++) {
		fd[i] = client();
		app[i] = accepted();
		assert_int_equal(send(fd[i], begins[i], strlen(begins[i]), 0), strlen(begins[i]));
		hears_nothing(app[i]);
	}
	forward(HEAD_S - SOME_S);
	for (int i = 0; i < 2; i++)
		hears_nothing(app[i]);
	forward(SOME_S);
	for (int i = 0; i < 2; i++)
		hears(app[i], begins[i]);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(send(fd[i], "x", 1, 0), 1);
		hears(app[i], "x");
		assert_int_equal(send(app[i], "no HTTP", 7, 0), 7);
		hears(fd[i], "no HTTP");
	}
	end = clock_boot() + 20 * NSEC_PER_SEC;
	while (slow_heads() != 2 && clock_boot() < end)
		member_run(&me, 20);
	assert_int_equal(slow_heads(), 2);
	for (int i = 0; i < 2; i++) {
		close(fd[i]);
		close(app[i]);
	}
}

/* --- idle legs --------------------------------------------------------------------------------------------------------- */

/* GET / of "h", the last frame of what it says. */
static void ask(int fd, uint8_t stream)
{
	const uint8_t frame[] = {0, 0, 6, 1, 5, 0, 0, 0, stream, 0x82, 0x86, 0x84, 0x41, 1, 'h'};

	assert_int_equal(send(fd, frame, sizeof(frame), 0), sizeof(frame));
}

static int connects(void)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
	int fd = client();

	assert_int_equal(send(fd, preface, sizeof(preface), 0), sizeof(preface));
	return fd;
}

/* Takes frames away up to HEADERS. */
static void hears_head(int fd, bool preface)
{
	nsec_t end = clock_boot() + 10 * NSEC_PER_SEC;
	uint8_t buf[4096];
	size_t have = 0, at = preface ? 24 : 0;

	for (;;) {
		size_t len = have >= at + 9 ? (size_t)buf[at + 1] << 8 | buf[at + 2] : 0;
		ssize_t n;

		if (have >= at + 9 + len && have >= at + 9) {
			if (buf[at + 3] == 1)
				return;
			at += 9 + len;
			continue;
		}
		n = recv(fd, buf + have, sizeof(buf) - have, MSG_DONTWAIT);
		assert_true(n > 0 || (n < 0 && errno == EAGAIN && clock_boot() < end));
		have += n > 0 ? (size_t)n : 0;
		if (n < 0)
			member_run(&me, 1);
	}
}

/* SETTINGS, and 200. */
static void answer(int fd)
{
	static const uint8_t frames[] = {0, 0, 0, 4, 0, 0, 0, 0, 0,   0,
					 0, 1, 1, 5, 0, 0, 0, 1, 0x88};

	assert_int_equal(send(fd, frames, sizeof(frames), 0), sizeof(frames));
}

static unsigned open_legs(const int *app)
{
	unsigned n = 0;

	for (int i = 0; i < CLIENTS; i++) {
		uint8_t buf[4096];
		ssize_t r;

		do {
			r = recv(app[i], buf, sizeof(buf), MSG_DONTWAIT);
		} while (r > 0);
		n += r < 0 && errno == EAGAIN;
	}
	return n;
}

/* Asks again, the last first, until the application is dialled for it; that one is answered. */
static void one_asks_anew(const int *fd)
{
	nsec_t end = clock_boot() + 20 * NSEC_PER_SEC;
	int app = -1, i = CLIENTS;

	while (app < 0 && i > 0 && clock_boot() < end) {
		ask(fd[--i], 3);
		for (int k = 0; k < 10 && app < 0; k++) {
			member_run(&me, 5);
			app = accept4(application, NULL, NULL, SOCK_CLOEXEC);
		}
	}
	assert_true(app >= 0);
	hears_head(app, true);
	answer(app);
	hears_head(fd[i], false);
	close(app);
}

/* Many clients that are idle keep 256 legs in all; whose leg is gone gets another. */
static void test_idle_legs(void **unused)
{
	static int fd[CLIENTS], app[CLIENTS];
	nsec_t start;

	(void)unused;
	for (int i = 0; i < CLIENTS; i++) {
		fd[i] = connects();
		ask(fd[i], 1);
		app[i] = accepted();
	}
	for (int i = 0; i < CLIENTS; i++)
		hears_head(app[i], true);
	start = clock_boot();
	for (int i = 0; i < CLIENTS; i++)
		answer(app[i]);
	for (int i = 0; i < CLIENTS; i++)
		hears_head(fd[i], false);
	/* Before they have been idle for so long that they end for that. */
	while (open_legs(app) > IDLE_LEGS && clock_boot() - start < 3 * NSEC_PER_SEC)
		member_run(&me, 5);
	assert_true(open_legs(app) <= IDLE_LEGS);
	one_asks_anew(fd);
	for (int i = 0; i < CLIENTS; i++) /* what was asked of others is over */
		close(fd[i]);
	for (int i = 0; i < CLIENTS; i++)
		close(app[i]);
}

/* A leg that nobody has used for a while goes, and its client does not notice. */
static void test_an_idle_leg(void **unused)
{
	nsec_t end = clock_boot() + 10 * NSEC_PER_SEC;
	int fd = connects(), app;
	char buf[256];

	(void)unused;
	ask(fd, 1);
	app = accepted();
	hears_head(app, true);
	answer(app);
	hears_head(fd, false);
	forward(2 * LEG_IDLE_S);
	while (recv(app, buf, sizeof(buf), MSG_DONTWAIT) != 0 && clock_boot() < end)
		member_run(&me, 5);
	assert_int_equal(recv(app, buf, 1, 0), 0);
	close(app);
	ask(fd, 3);
	app = accepted();
	hears_head(app, true);
	answer(app);
	hears_head(fd, false);
	close(fd);
	close(app);
}

/* --- bodies that nobody takes --------------------------------------------------------------------------------------------- */

/* Of one client as much as its connection's window allows; of all a little more than 40 MiB. */
enum { UPLOADS = 16, UPLOAD = 256 << 10, CHUNK = 16 << 10, STANDING = 11 };

/* What the kernel takes of it, while the agent runs. `at`: how much of all is sent. */
static bool sends_some(int fd, const uint8_t *data, size_t len, size_t *at)
{
	ssize_t n = *at < len ? send(fd, data + *at, len - *at, MSG_DONTWAIT) : 0;

	assert_true(n >= 0 || errno == EAGAIN);
	*at += n > 0 ? (size_t)n : 0;
	return n > 0;
}

static void put_head(uint8_t *to, size_t len, uint8_t type, uint8_t flags, uint32_t stream)
{
	const uint8_t head[] = {
		(uint8_t)(len >> 16),	(uint8_t)(len >> 8), (uint8_t)len, type, flags, 0, 0,
		(uint8_t)(stream >> 8), (uint8_t)stream};

	memcpy(to, head, sizeof(head));
}

/* POST / of "h" on many streams, a window of body on each, which do not end. Returns how long all of it is. */
static size_t make_uploads(uint8_t *to)
{
	static const uint8_t fields[] = {0x83, 0x86, 0x84, 0x41, 1, 'h'};
	size_t n = 9;

	put_head(to, 0, 4, 1, 0); /* its SETTINGS are taken: windows are as they say */
	for (uint32_t id = 1; id < 2 * UPLOADS; id += 2) {
		put_head(to + n, sizeof(fields), 1, 4, id);
		memcpy(to + n + 9, fields, sizeof(fields));
		n += 9 + sizeof(fields);
		for (size_t body = 0; body < UPLOAD; body += CHUNK) {
			put_head(to + n, CHUNK, 0, 0, id);
			memset(to + n + 9, 'x', CHUNK);
			n += 9 + CHUNK;
		}
	}
	return n;
}

/* Goes over what came, frame by frame; true at the first HEADERS. `have` of `buf` is what is left of the last. */
static bool hears_headers(int fd, uint8_t *buf, size_t room, size_t *have)
{
	ssize_t n = recv(fd, buf + *have, room - *have, MSG_DONTWAIT);
	size_t at = 0;

	assert_true(n > 0 || (n < 0 && errno == EAGAIN));
	*have += n > 0 ? (size_t)n : 0;
	while (*have >= at + 9) {
		size_t len = (size_t)buf[at] << 16 | (size_t)buf[at + 1] << 8 | buf[at + 2];

		if (*have < at + 9 + len)
			break;
		if (buf[at + 3] == 1)
			return true;
		at += 9 + len;
	}
	memmove(buf, buf + at, *have - at);
	*have -= at;
	return false;
}

/* Clients of an application that takes no more bodies: when there is no room left it is the first that is told, though it is the
 * last that brings more; and that one is not. */
static void test_uploads_that_stand(void **unused)
{
	uint8_t *uploads = malloc(9 + (size_t)UPLOADS * (UPLOAD + 64 * 9)), heard[2][8192];
	size_t len = make_uploads(uploads), at, have[2] = {0};
	nsec_t end = clock_boot() + 60 * NSEC_PER_SEC;
	int fd[STANDING], app[STANDING];

	(void)unused;
	for (int i = 0; i < STANDING; i++) {
		if (i ==
		    STANDING - 1) /* no timer of the others' is left that would have them look */
			forward(2 * LEG_IDLE_S);
		fd[i] = connects();
		app[i] = accepted();
		for (at = 0; at < len && clock_boot() < end;) {
			if (!sends_some(fd[i], uploads, len, &at))
				member_run(&me, 1);
		}
		assert_int_equal(at, len);
	}
	free(uploads);
	while (!hears_headers(fd[0], heard[0], sizeof(heard[0]), &have[0]) && clock_boot() < end)
		member_run(&me, 1);
	assert_true(clock_boot() < end);
	assert_false(hears_headers(fd[STANDING - 1], heard[1], sizeof(heard[1]), &have[1]));
	for (int i = 0; i < STANDING; i++) {
		close(fd[i]);
		close(app[i]);
	}
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, world_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_heads_that_do_not_end),
		TEST(test_an_idle_leg),
		TEST(test_idle_legs),
		TEST(test_uploads_that_stand),
	};

	if (argc > 1) {
		listen_for_time();
		return agent_main(argc, argv); /* we are the child */
	}
	return cmocka_run_group_tests(tests, alone, NULL);
}
