/* SPDX-License-Identifier: Apache-2.0 */
/* What a burst of connections leaves behind in a program: next to nothing. */
#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/util.h"

enum { CONNS = 900 /* a soft limit of 1024 descriptors is common */, BUFFER = 5000 };

static long rss_kib(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long size = 0, pages = 0;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%ld %ld", &size, &pages), 2);
	fclose(f);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void ignore(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

/* Each connection: a descriptor that is watched, and memory of its own. */
static void burst(struct event_base *base)
{
	static struct event *ev[CONNS];
	static void *buffer[CONNS];
	static int fd[CONNS];

	for (int i = 0; i < CONNS; i++) {
		fd[i] = i ? dup(fd[0]) : socket(AF_UNIX, SOCK_STREAM, 0);
		assert_true(fd[i] >= 0);
		buffer[i] = malloc(BUFFER);
		assert_non_null(buffer[i]);
		memset(buffer[i], 1, BUFFER);
		ev[i] = event_new(base, fd[i], EV_READ, ignore, NULL);
		assert_non_null(ev[i]);
		assert_int_equal(event_add(ev[i], NULL), 0);
	}
	for (int i = 0; i < CONNS; i++) {
		event_free(ev[i]);
		close(fd[i]);
		free(buffer[i]);
	}
}

static void test_burst_leaves_nothing(void **unused)
{
	struct event_base *base = event_base_new();
	long before = rss_kib();

	(void)unused;
	assert_non_null(base);
	burst(base);
	memory_tidy();
#ifndef __SANITIZE_ADDRESS__ /* whose heap gives nothing back */
	assert_in_range(rss_kib(), 0, before + 512);
#endif
	burst(base); /* the records are used again */
	event_base_free(base);
	(void)before;
}

/* libevent's array of records outgrows a small block. */
static void test_many_bases_one_after_the_other(void **unused)
{
	(void)unused;
	for (int i = 0; i < 50; i++) {
		struct event_base *base = event_base_new();
		const char *method;

		assert_non_null(base);
		method = event_base_get_method(base);
		assert_non_null(method);
		burst(base);
		event_base_free(base);
	}
}

static long faults(void)
{
	struct rusage u;

	assert_int_equal(getrusage(RUSAGE_SELF, &u), 0);
	return u.ru_minflt;
}

/* As buffers of super-packets do: their pages are made once. */
static void test_buffers_that_come_and_go(void **unused)
{
	enum { ROUNDS = 200, BUFFERS = 16, SIZE = 64 << 10 };
	void *b[BUFFERS];
	long before = 0;

	(void)unused;
	for (int round = 0; round <= ROUNDS; round++) {
		if (round == 1)
			before = faults();
		for (int i = 0; i < BUFFERS; i++) {
			b[i] = malloc(SIZE);
			assert_non_null(b[i]);
			memset(b[i], round, SIZE);
		}
		for (int i = 0; i < BUFFERS; i++)
			free(b[i]);
	}
#ifndef __SANITIZE_ADDRESS__ /* whose heap is its own */
	assert_in_range(faults() - before, 0, BUFFERS * SIZE / 4096 * 4);
#endif
	(void)before;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_burst_leaves_nothing),
		cmocka_unit_test(test_many_bases_one_after_the_other),
		cmocka_unit_test(test_buffers_that_come_and_go),
	};

	memory_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
