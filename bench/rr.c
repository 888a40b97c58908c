/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rr: request-response over TCP, 64 bytes each way, and bytes in bulk.
 *   rr serve PORT [LETTER]           echo server, one thread a connection; LETTER becomes the first byte
 *   rr ask ADDRESS PORT SECONDS      one connection
 *   rr connect ADDRESS PORT SECONDS  a new connection each time, closed by reset
 *   rr flood ADDRESS PORT COUNT WORKERS LETTER  COUNT new connections; an answer without LETTER is an error
 * The last three print "N_PER_SECOND P50 P99 ERRORS", P50 and P99 in microseconds.
 *   rr bulk up|down ADDRESS PORT SECONDS STREAMS  prints the bytes per second that arrived
 * Bulk ends by a byte in the stream and a close in good order: port-forwards die of a reset and lose half-closes.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	SIZE = 64,
	SAMPLES_MAX = 1 << 22,
	ERRORS_MAX = 20,
	WORKERS_MAX = 256,
	SILENCE_S = 10,
	CHUNK = 1 << 17,
	UP = 'U',
	DOWN = 'D',
	END = 1
};

static char letter; /* what a server puts first, and a flood wants first; 0: nothing */
static _Atomic unsigned elsewhere; /* answers with another letter: errors, too */

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

/* Sends zeros for so long, then what ends it. */
static void pour(int fd, double seconds)
{
	static const char zeros[CHUNK];
	double end = now() + seconds;
	while (now() < end)
		if (write(fd, zeros, sizeof(zeros)) != sizeof(zeros))
			return;
	(void)!write(fd, (char[]){END}, 1);
}

/* Reads up to what ends it; how much. */
static uint64_t drain(int fd)
{
	uint64_t total = 0;
	char buf[CHUNK];
	ssize_t n;
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		total += (uint64_t)n;
		if (buf[n - 1] == END)
			break;
	}
	return total;
}

static void serve_bulk(int fd, const char *buf, ssize_t n)
{
	if (*buf == UP) {
		bool ended = n > 1 && buf[n - 1] == END;
		uint64_t total = (uint64_t)n + (ended ? 0 : drain(fd));
		(void)!write(fd, &total, sizeof(total));
	} else {
		pour(fd, (double)(buf[1] - END));
	}
	while (read(fd, (char[64]){0}, 64) > 0)
		;
}

static void *echo(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char buf[65536];
	ssize_t n;
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		if (*buf == UP || *buf == DOWN) {
			serve_bulk(fd, buf, n);
			break;
		}
		if (letter)
			buf[0] = letter;
		if (write(fd, buf, (size_t)n) != n)
			break;
	}
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
	if (recv(fd, buf, SIZE, MSG_WAITALL) != SIZE)
		return false;
	if (buf[0] != letter)
		elsewhere++;
	return buf[0] == letter;
}

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x > y) - (x < y);
}

static int report(float *us, size_t n, double seconds, unsigned errors)
{
	if (!n) {
		fprintf(stderr, "rr: no answer\n");
		return 1;
	}
	qsort(us, n, sizeof(*us), compare);
	printf("%.0f %.1f %.1f %u\n", (double)n / seconds, (double)us[n / 2],
	       (double)us[n * 99 / 100], errors);
	return 0;
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
	return report(us, n, t - start, errors);
}

struct flood {
	const struct sockaddr_in *sa;
	float *us; /* by number of the request; negative: it failed */
	unsigned count;
	_Atomic unsigned next;
};

static void *flood_worker(void *arg)
{
	struct flood *f = arg;
	struct timeval silence = {.tv_sec = SILENCE_S};
	unsigned i;
	while ((i = f->next++) < f->count) {
		double t = now();
		int fd = dial(f->sa);
		if (fd >= 0)
			setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof(silence));
		bool ok = fd >= 0 && round_trip(fd);
		if (fd >= 0)
			close(fd);
		f->us[i] = ok ? (float)((now() - t) * 1e6) : -1;
	}
	return NULL;
}

static int flood(const struct sockaddr_in *sa, unsigned count, unsigned workers)
{
	struct flood f = {.sa = sa, .us = calloc(count, sizeof(float)), .count = count};
	pthread_t t[WORKERS_MAX];
	size_t n = 0;
	double start = now();
	if (!f.us || workers > WORKERS_MAX)
		return 1;
	for (unsigned i = 0; i < workers; i++)
		if (pthread_create(&t[i], NULL, flood_worker, &f))
			return 1;
	for (unsigned i = 0; i < workers; i++)
		pthread_join(t[i], NULL);
	double took = now() - start;
	if (elsewhere)
		fprintf(stderr, "rr: %u answers came from somebody else\n", elsewhere);
	for (unsigned i = 0; i < count; i++)
		if (f.us[i] >= 0)
			f.us[n++] = f.us[i];
	return report(f.us, n, took, count - (unsigned)n);
}

struct stream {
	const struct sockaddr_in *sa;
	bool up;
	double seconds;
	uint64_t total;
};

static void *bulk_stream(void *arg)
{
	struct stream *s = arg;
	int fd = dial(s->sa);
	if (fd < 0)
		return NULL;
	if (write(fd, (char[]){s->up ? UP : DOWN, (char)(END + s->seconds)}, 2) == 2 && s->up) {
		pour(fd, s->seconds);
		if (recv(fd, &s->total, sizeof(s->total), MSG_WAITALL) != sizeof(s->total))
			s->total = 0;
	} else {
		s->total = drain(fd);
	}
	close(fd);
	return NULL;
}

static int bulk(const struct sockaddr_in *sa, bool up, double seconds, unsigned streams)
{
	struct stream s[WORKERS_MAX];
	pthread_t t[WORKERS_MAX];
	uint64_t total = 0;
	double start = now();
	if (streams > WORKERS_MAX || seconds < 1 || seconds > 100)
		return 2;
	for (unsigned i = 0; i < streams; i++) {
		s[i] = (struct stream){.sa = sa, .up = up, .seconds = seconds};
		if (pthread_create(&t[i], NULL, bulk_stream, &s[i]))
			return 1;
	}
	for (unsigned i = 0; i < streams; i++) {
		pthread_join(t[i], NULL);
		total += s[i].total;
		if (!s[i].total) {
			fprintf(stderr, "rr: a stream broke\n");
			return 1;
		}
	}
	printf("%.0f\n", (double)total / (now() - start));
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: rr serve PORT [LETTER] | rr ask|connect ADDRESS PORT SECONDS | rr "
			"flood ADDRESS PORT COUNT WORKERS LETTER | "
			"rr bulk up|down ADDRESS PORT SECONDS STREAMS\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	signal(SIGPIPE, SIG_IGN);
	if ((argc == 3 || argc == 4) && !strcmp(argv[1], "serve")) {
		letter = argc == 4 ? *argv[3] : 0;
		return serve((uint16_t)atoi(argv[2]));
	}
	bool flooding = argc == 7 && !strcmp(argv[1], "flood"),
	     pouring = argc == 7 && !strcmp(argv[1], "bulk");
	char **at = argv + (pouring ? 3 : 2);
	if ((argc != 5 && !flooding && !pouring) || inet_pton(AF_INET, at[0], &sa.sin_addr) != 1)
		return usage();
	sa.sin_port = htons((uint16_t)atoi(at[1]));
	if (pouring)
		return bulk(&sa, !strcmp(argv[2], "up"), atof(at[2]), (unsigned)atoi(at[3]));
	if (flooding) {
		letter = *argv[6];
		return flood(&sa, (unsigned)atoi(argv[4]), (unsigned)atoi(argv[5]));
	}
	return ask(&sa, atof(argv[4]), !strcmp(argv[1], "connect"));
}
