/* SPDX-License-Identifier: Apache-2.0 */
/* One request, its answer collected up to a bound. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#include "base/addr.h"
#include "base/file.h"
#include "fetch/fetch.h"

enum { FIRST_ROOM = 4096, HOST_MAX = 253 };

struct fetch {
	struct fetch_transfer transfer;
	struct curl_slist *headers;
	char error[CURL_ERROR_SIZE];
	char host[HOST_MAX + 1];
	char *answer;
	size_t len, room;
	bool too_large;
	fetch_cb *cb;
	void *arg;
};

/* --- URLs ------------------------------------------------------------------------------------------------ */

static bool is_loopback(const char *host)
{
	char bare[ADDR_STRLEN];
	struct ipaddr a;
	size_t len = strlen(host);

	if (*host == '[' && len > 2 && len - 2 < sizeof(bare)) {
		snprintf(bare, sizeof(bare), "%.*s", (int)(len - 2), host + 1);
		host = bare;
	}
	return ipaddr_parse(&a, host) == 0 && ipaddr_is_loopback(&a);
}

/* curl forgives more than two programs would understand alike. */
static bool is_plain(const char *url)
{
	const char *host = !strncmp(url, "https://", 8)	 ? url + 8
			   : !strncmp(url, "http://", 7) ? url + 7
							 : "";

	if (!*host || *host == '/')
		return false;
	for (; *url; url++) {
		if (*url <= ' ' || *url > '~' || strchr("\"<>\\^`{|}#", *url))
			return false;
	}
	return true;
}

/* Copies the host of a URL; what is in `host` is used in sentences. */
static int split(const char *url, char host[static HOST_MAX + 1], bool *tls)
{
	CURLU *u = curl_url();
	char *scheme = NULL, *name = NULL, *user = NULL;
	int r = -EINVAL;

	if (!u)
		return -ENOMEM;
	*host = '\0';
	if (strlen(url) <= FETCH_URL_MAX && is_plain(url) &&
	    curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_HOST, &name, 0) == CURLUE_OK && strlen(name) <= HOST_MAX &&
	    curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_NO_USER) {
		*tls = !strcmp(scheme, "https");
		memcpy(host, name, strlen(name) + 1);
		r = 0;
	}
	curl_free(scheme);
	curl_free(name);
	curl_free(user);
	curl_url_cleanup(u);
	return r;
}

int fetch_url_check(const char *url, struct error *e)
{
	char host[HOST_MAX + 1];
	bool tls = false;
	int r = split(url, host, &tls);

	if (r == -ENOMEM)
		return error_errno(e, r, "URL");
	if (r)
		return error_set(e, r, "'%.200s' is no usable URL: write https://HOST/PATH", url);
	if (!tls && !is_loopback(host))
		return error_set(e, -EINVAL,
				 "'%.200s' is not encrypted: only https is allowed, and http to a "
				 "loopback address",
				 url);
	return 0;
}

/* --- life ------------------------------------------------------------------------------------------------ */

void fetch_cancel(struct fetch *f)
{
	if (!f)
		return;
	fetch_transfer_stop(&f->transfer);
	if (f->transfer.easy)
		curl_easy_cleanup(f->transfer.easy);
	curl_slist_free_all(f->headers);
	if (f->answer)
		explicit_bzero(f->answer, f->len); /* tokens are in it */
	free(f->answer);
	free(f);
}

static size_t on_bytes(char *data, size_t size, size_t n, void *arg)
{
	struct fetch *f = arg;
	size_t len = size * n, need = f->len + len + 1;

	if (need > FETCH_ANSWER_MAX + 1) {
		f->too_large = true;
		return 0;
	}
	if (need > f->room) {
		size_t room = MAX(need, MAX(f->room * 2, FIRST_ROOM));
		char *bigger = realloc(f->answer, room);

		if (!bigger)
			return 0;
		f->answer = bigger;
		f->room = room;
	}
	memcpy(f->answer + f->len, data, len);
	f->len += len;
	f->answer[f->len] = '\0';
	return len;
}

/* What went wrong, of whom. */
static void judge(const struct fetch *f, CURLcode code, struct error *e)
{
	const char *detail = *f->error ? f->error : curl_easy_strerror(code);

	if (f->too_large)
		error_fill(e, 0, "the answer of %s is larger than %d bytes", f->host,
			   FETCH_ANSWER_MAX);
	else if (code == CURLE_COULDNT_RESOLVE_HOST)
		error_fill(e, 0, "the name %s is not known to DNS here", f->host);
	else if (code == CURLE_OPERATION_TIMEDOUT)
		error_fill(e, 0, "%s did not answer within %d s", f->host, FETCH_SECONDS);
	else if (code == CURLE_PEER_FAILED_VERIFICATION)
		error_fill(e, 0, "the certificate of %s is not accepted: %s", f->host, detail);
	else
		error_fill(e, 0, "%s: %s", f->host, detail);
}

/* The one callback; `f` is gone before it, its answer after it. */
static void on_done(struct fetch_transfer *t, CURLcode code)
{
	struct fetch *f = container_of(t, struct fetch, transfer);
	char *answer = steal_ptr(f->answer);
	struct fetch_reply reply = {.body = answer ? answer : "", .len = f->len};
	size_t len = f->len;
	fetch_cb *cb = f->cb;
	void *arg = f->arg;
	struct error e;
	long status = 0;

	if (code == CURLE_OK && curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status) == 0) {
		reply.status = (int)status;
	} else {
		judge(f, code, &e);
		reply.sentence = e.text;
		reply.body = "";
		reply.len = 0;
	}
	fetch_cancel(f);
	cb(arg, &reply);
	if (answer)
		explicit_bzero(answer, len);
	free(answer);
}

static void on_ready(struct fetch_transfer *t)
{
	(void)t;
}

/* --- start ----------------------------------------------------------------------------------------------- */

/* curl takes either a file of authorities or a text: so the text is both. What cannot be read, is not there. */
static int add_authorities(CURL *easy, const char *ca)
{
	cleanup(free_ptr) char *system = NULL;
	cleanup(free_ptr) char *both = NULL;
	struct curl_blob blob = {.flags = CURL_BLOB_COPY};
	char *file = NULL;
	size_t len;
	int n;

	if (curl_easy_getinfo(easy, CURLINFO_CAINFO, &file) == CURLE_OK && file)
		(void)file_read(file, FETCH_ANSWER_MAX * 4, &system, &len, NULL);
	n = asprintf(&both, "%s\n%s", ca, system ? system : "");
	if (n < 0) {
		both = NULL;
		return -ENOMEM;
	}
	blob.data = both;
	blob.len = (size_t)n;
	return curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob) ? -ENOMEM : 0;
}

static int set_form(struct fetch *f, const char *form)
{
	CURL *easy = f->transfer.easy;

	curl_easy_setopt(easy, CURLOPT_POST, 1L);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, -1L);
	return curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, form) ? -ENOMEM : 0;
}

static int set_user(CURL *easy, const struct fetch_call *call)
{
	curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
	return curl_easy_setopt(easy, CURLOPT_USERNAME, call->user) ||
			       curl_easy_setopt(easy, CURLOPT_PASSWORD,
						call->password ? call->password : "")
		       ? -ENOMEM
		       : 0;
}

static int setup(struct fetch *f, const struct fetch_call *call)
{
	CURL *easy = f->transfer.easy;
	int r = 0;

	f->headers = curl_slist_append(NULL, "Accept: application/json");
	if (!f->headers || curl_easy_setopt(easy, CURLOPT_URL, call->url))
		return -ENOMEM;
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, f->headers);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT, (long)FETCH_SECONDS);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "culvert/" CULVERT_VERSION);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, f->error);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, f);
	if (!strncmp(call->url, "http:", 5)) /* what is not encrypted stays on this machine */
		curl_easy_setopt(easy, CURLOPT_PROXY, "");
	if (call->ca)
		r = add_authorities(easy, call->ca);
	if (r == 0 && call->user)
		r = set_user(easy, call);
	if (r == 0 && call->form)
		r = set_form(f, call->form);
	return r;
}

int fetch(struct fetch_multi *m, const struct fetch_call *call, fetch_cb *cb, void *arg,
	  struct fetch **fp)
{
	struct fetch *f;
	bool tls;
	int r = fetch_url_check(call->url, NULL);

	if (r)
		return r;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->transfer.done = on_done;
	f->transfer.ready = on_ready;
	f->transfer.easy = curl_easy_init();
	f->cb = cb;
	f->arg = arg;
	r = f->transfer.easy ? split(call->url, f->host, &tls) : -ENOMEM;
	if (r == 0)
		r = setup(f, call);
	if (r == 0)
		r = fetch_transfer_start(m, &f->transfer);
	if (r) {
		fetch_cancel(f);
		return r;
	}
	if (fp)
		*fp = f;
	return 0;
}
