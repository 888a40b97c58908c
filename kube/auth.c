/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who we are: a static token or certificate, a token file that is read anew each minute, Basic, or what the exec plugin
 * last gave.
 *
 * A generation is one answer of the plugin (or one content of the file). A 401 to the current generation asks for the next;
 * a 401 to an older one only means that the request was under way while a new one came. The plugin runs once for all who
 * wait. What it failed with is told to those who waited; the next request tries again.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "base/clock.h"
#include "kube/internal.h"

enum {
	TOKEN_FILE_SECONDS = 60, /* client-go's period */
	EXPIRY_LEEWAY = 10, /* seconds before its end a credential is not used for a new request */
};

struct kube_auth {
	struct event_base *base;
	const struct kube_config *config;
	struct kube_options options;
	struct kube_plugin *plugin;
	struct kube_credential plugged;
	bool have;
	char *file_token;
	nsec_t file_read;
	unsigned generation;
	struct event *tell; /* wakes those whose credentials are already here */
	struct error error;
	bool failed;
	LIST_HEAD(wait_list, kube_auth_wait)
	waiting;
};

/* A static token or Basic goes before the plugin, as client-go has it. */
static bool uses_plugin(const struct kube_auth *a)
{
	const struct kube_config *c = a->config;

	return c->exec && !c->token && !c->token_file && !c->username;
}

static bool fresh(const struct kube_auth *a)
{
	if (!uses_plugin(a))
		return true;
	return a->have && (!a->plugged.expires ||
			   clock_real() + EXPIRY_LEEWAY * NSEC_PER_SEC < a->plugged.expires);
}

/* Tells all who wait now; who comes in a callback waits for the next time. A callback may take others out and free `a`. */
static void tell_all(struct kube_auth *a, const struct error *e)
{
	struct wait_list now = LIST_HEAD_INITIALIZER(now);
	struct kube_auth_wait *w;
	struct error copy;

	if (e)
		copy = *e;
	now.lh_first = LIST_FIRST(&a->waiting);
	if (now.lh_first)
		now.lh_first->link.le_prev = &now.lh_first;
	LIST_INIT(&a->waiting);
	while ((w = LIST_FIRST(&now))) {
		LIST_REMOVE(w, link);
		w->waiting = false;
		w->done(w, e ? &copy : NULL);
	}
}

static void on_tell(int fd, short what, void *arg)
{
	struct kube_auth *a = arg;
	struct error e = a->error;
	bool failed = a->failed;

	(void)fd;
	(void)what;
	a->failed = false;
	tell_all(a, failed ? &e : NULL);
}

static void on_plugin(void *arg, struct kube_credential *got, const struct error *e)
{
	struct kube_auth *a = arg;

	a->plugin = NULL;
	if (got) {
		kube_credential_clear(&a->plugged);
		a->plugged = *got;
		a->have = true;
		a->generation++;
	}
	tell_all(a, e);
}

void kube_auth_want(struct kube_auth *a, struct kube_auth_wait *w)
{
	LIST_INSERT_HEAD(&a->waiting, w, link);
	w->waiting = true;
	if (a->plugin)
		return;
	if (!fresh(a)) {
		if (kube_plugin_run(&a->plugin, a->base, a->config, &a->options, on_plugin, a,
				    &a->error) == 0)
			return;
		a->failed = true;
	}
	event_active(a->tell, EV_READ, 0);
}

void kube_auth_leave(struct kube_auth *a, struct kube_auth_wait *w)
{
	(void)a;
	if (w->waiting)
		LIST_REMOVE(w, link);
	w->waiting = false;
}

static void forget_file_token(struct kube_auth *a)
{
	if (a->file_token)
		explicit_bzero(a->file_token, strlen(a->file_token));
	free(a->file_token);
	a->file_token = NULL;
}

/* The file's token, as new as a minute; a file that cannot be read leaves the last one, then the static one. */
static const char *current_token(struct kube_auth *a)
{
	const struct kube_config *c = a->config;
	struct kube_blob text = {.data = NULL};
	nsec_t now = clock_boot();

	if (!c->token_file)
		return c->token ? c->token : a->have ? a->plugged.token : NULL;
	if (!a->file_read || now - a->file_read > TOKEN_FILE_SECONDS * NSEC_PER_SEC) {
		if (kube_read_blob(c->token_file, &text, NULL) == 0) {
			size_t len = strcspn(text.data, "\r\n");

			text.data[len] = '\0';
			if (!a->file_token || strcmp(a->file_token, text.data))
				a->generation++;
			forget_file_token(a);
			a->file_token = text.data;
		}
		a->file_read = now;
	}
	return a->file_token && *a->file_token ? a->file_token : c->token;
}

bool kube_auth_refused(struct kube_auth *a, unsigned generation)
{
	if (generation != a->generation)
		return true;
	if (a->config->token_file) {
		a->file_read = 0;
		(void)current_token(a);
		return generation != a->generation;
	}
	if (!uses_plugin(a))
		return false;
	kube_credential_clear(&a->plugged);
	a->have = false;
	return true;
}

unsigned kube_auth_generation(const struct kube_auth *a)
{
	return a->generation;
}

int kube_auth_header(struct kube_auth *a, char **header)
{
	const struct kube_config *c = a->config;
	const char *token = current_token(a);
	cleanup(free_ptr) char *pair = NULL;
	cleanup(free_ptr) char *text = NULL;
	int n;

	*header = NULL;
	if (token) {
		n = asprintf(header, "Authorization: Bearer %s", token);
	} else if (c->username) {
		n = asprintf(&pair, "%s:%s", c->username, c->password ? c->password : "");
		text = n < 0 ? NULL : base64_encode(pair, (size_t)n);
		n = text ? asprintf(header, "Authorization: Basic %s", text) : -1;
	} else {
		return 0;
	}
	if (n < 0) {
		*header = NULL;
		return -ENOMEM;
	}
	return 0;
}

const struct kube_blob *kube_auth_cert(const struct kube_auth *a)
{
	return a->have && a->plugged.cert.data ? &a->plugged.cert : &a->config->cert;
}

const struct kube_blob *kube_auth_key(const struct kube_auth *a)
{
	return a->have && a->plugged.cert.data ? &a->plugged.key : &a->config->key;
}

int kube_auth_new(struct kube_auth **ap, struct event_base *base, const struct kube_config *config,
		  const struct kube_options *options)
{
	struct kube_auth *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->base = base;
	a->config = config;
	if (options)
		a->options = *options;
	LIST_INIT(&a->waiting);
	a->tell = event_new(base, -1, 0, on_tell, a);
	if (!a->tell) {
		free(a);
		return -ENOMEM;
	}
	*ap = a;
	return 0;
}

void kube_auth_free(struct kube_auth *a)
{
	if (!a)
		return;
	kube_plugin_kill(a->plugin);
	kube_credential_clear(&a->plugged);
	forget_file_token(a);
	event_free(a->tell);
	free(a);
}
