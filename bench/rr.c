/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rr: request-response over TCP, 64 bytes each way.
 *   rr serve PORT               echo server, one thread a connection
 *   rr ask ADDRESS PORT SECONDS     one connection: prints round trips per second, p50 and p99 in
 * microseconds rr connect ADDRESS PORT SECONDS a new connection each time, closed by reset Output
 * of the last two: "N_PER_SECOND P50 P99 ERRORS".
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 64, SAMPLES_MAX = 1 << 22, ERRORS_MAX = 20 };

static double now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void no_delay(int fd)
{
	int one = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void *echo(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char buf[65536];
	ssize_t n;
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		if (write(fd, buf, (size_t)n) != n)
			break;
	close(fd);
	return NULL;
}

static int serve(uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
	int one = 1, l = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(l, (struct sockaddr *)&sa, sizeof(sa)) || listen(l, 4096)) {
		perror("rr");
		return 1;
	}
	for (;;) {
		pthread_t t;
		int fd = accept(l, NULL, NULL);
		if (fd < 0)
			continue;
		no_delay(fd);
		if (pthread_create(&t, NULL, echo, (void *)(intptr_t)fd))
			close(fd);
		else
			pthread_detach(t);
	}
}

static int dial(const struct sockaddr_in *sa)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	no_delay(fd);
	if (connect(fd, (const struct sockaddr *)sa, sizeof(*sa))) {
		close(fd);
		return -1;
	}
	return fd;
}

static void hang_up(int fd)
{
	/* By reset: else TIME_WAIT and the range of ports would decide. */
	struct linger l = {.l_onoff = 1};
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	close(fd);
}

static bool round_trip(int fd)
{
	char buf[SIZE] = {0};
	if (write(fd, buf, SIZE) != SIZE)
		return false;
	return recv(fd, buf, SIZE, MSG_WAITALL) == SIZE;
}

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x > y) - (x < y);
}

static int ask(const struct sockaddr_in *sa, double seconds, bool anew)
{
	float *us = malloc(SAMPLES_MAX * sizeof(*us));
	size_t n = 0;
	unsigned errors = 0;
	int fd = -1;
	double start = now(), t = start;
	while (us && t < start + seconds && n < SAMPLES_MAX && errors < ERRORS_MAX) {
		if (fd < 0)
			fd = dial(sa);
		if (fd < 0 || !round_trip(fd)) {
			errors++;
			if (fd >= 0)
				hang_up(fd);
			fd = -1;
			t = now();
			continue;
		}
		if (anew) {
			hang_up(fd);
			fd = -1;
		}
		double end = now();
		us[n++] = (float)((end - t) * 1e6);
		t = end;
	}
	if (!n) {
		fprintf(stderr, "rr: no answer\n");
		return 1;
	}
	qsort(us, n, sizeof(*us), compare);
	printf("%.0f %.1f %.1f %u\n", (double)n / (t - start), (double)us[n / 2],
	       (double)us[n * 99 / 100], errors);
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	if (argc == 3 && !strcmp(argv[1], "serve"))
		return serve((uint16_t)atoi(argv[2]));
	if (argc != 5 || inet_pton(AF_INET, argv[2], &sa.sin_addr) != 1) {
		fprintf(stderr, "usage: rr serve PORT | rr ask|connect ADDRESS PORT SECONDS\n");
		return 2;
	}
	sa.sin_port = htons((uint16_t)atoi(argv[3]));
	return ask(&sa, atof(argv[4]), !strcmp(argv[1], "connect"));
}
