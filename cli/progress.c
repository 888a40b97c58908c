/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Progress on stderr. On a terminal one line with a spinner, which a thread turns while the main
 * one waits in a call; elsewhere, or with NO_COLOR, each text is a line.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>

#include "cli/internal.h"

enum { TEXT_MAX = 512, TURN_MS = 100 };

struct progress {
	bool fancy, stop;
	char text[TEXT_MAX];
	pthread_t turner;
	pthread_mutex_t lock;
	pthread_cond_t stopped;
};

/* A line that wrapped could not be drawn over. */
static int room(void)
{
	struct winsize ws;

	return ioctl(2, TIOCGWINSZ, &ws) || ws.ws_col < 4 ? TEXT_MAX : ws.ws_col - 3;
}

static void draw(const struct progress *p, unsigned turn)
{
	static const char *const frames[] = {"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"};

	fprintf(stderr, "\r\033[K%s %.*s", frames[turn % ARRAY_SIZE(frames)], room(), p->text);
	fflush(stderr);
}

static void *turn(void *arg)
{
	struct progress *p = arg;
	struct timespec until;
	unsigned n = 0;

	pthread_mutex_lock(&p->lock);
	/* First a wait: what is done at once shows nothing. */
	while (!p->stop) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += TURN_MS * 1000000L;
		until.tv_sec += until.tv_nsec / 1000000000L;
		until.tv_nsec %= 1000000000L;
		while (!p->stop && pthread_cond_timedwait(&p->stopped, &p->lock, &until) == 0)
			;
		if (!p->stop)
			draw(p, n++);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

struct progress *progress_start(const char *text)
{
	struct progress *p = calloc(1, sizeof(*p));
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	sigset_t all, old;

	if (!p)
		return NULL;
	p->fancy = isatty(2) && !(no_color && *no_color) && !(term && !strcmp(term, "dumb"));
	snprintf(p->text, sizeof(p->text), "%s", text);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->stopped, NULL);
	/* Signals are for the thread that waits for the daemon. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (p->fancy)
		p->fancy = !pthread_create(&p->turner, NULL, turn, p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return p;
}

void progress_say(struct progress *p, const char *text)
{
	char clean[TEXT_MAX];

	if (!p)
		return;
	snprintf(clean, sizeof(clean), "%s", text);
	text_clean(clean);
	if (!p->fancy) {
		fprintf(stderr, "%s\n", clean);
		return;
	}
	pthread_mutex_lock(&p->lock);
	memcpy(p->text, clean, sizeof(clean));
	pthread_mutex_unlock(&p->lock);
}

void progress_end(struct progress *p, const char *text)
{
	if (!p)
		return;
	if (p->fancy) {
		pthread_mutex_lock(&p->lock);
		p->stop = true;
		pthread_cond_signal(&p->stopped);
		pthread_mutex_unlock(&p->lock);
		pthread_join(p->turner, NULL);
		fputs("\r\033[K", stderr);
	}
	pthread_cond_destroy(&p->stopped);
	pthread_mutex_destroy(&p->lock);
	if (text)
		printf("%s%s\n", p->fancy && isatty(1) ? "✔ " : "", text);
	free(p);
}
