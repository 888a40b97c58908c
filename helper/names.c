/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DNS of one daemon: systemd-resolved where the laptop's programs ask it, else resolv.conf. What
 * resolved knows ends with the TUN's link, so there is nothing to undo and no guard; but it forgets
 * when it is started anew, and is told again.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/log.h"
#include "dns/dns.h"
#include "helper/internal.h"

enum { AGAIN_MS = 3000 };
_Static_assert((int)PRIVSEP_DOMAINS == (int)DNS_DOMAINS &&
		       (int)PRIVSEP_ROUTED_LEN == (int)DNS_DOMAIN_LEN,
	       "the stub takes what the helper takes");

static void answer(struct privsep_answer *a, int code, const struct error *e)
{
	a->code = code;
	snprintf(a->text, sizeof(a->text), "%.*s", (int)sizeof(a->text) - 1, e->text);
}

static int bind_stub(int type, struct error *e)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(53)};
	int one = 1;

	inet_pton(AF_INET, DNS_STUB_ADDR, &sa.sin_addr);
	cleanup(close_fd) int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* For TCP, so that connections in TIME_WAIT do not stop us. UDP would share the port with a
	 * stranger. */
	if (fd < 0 ||
	    (type == SOCK_STREAM &&
	     setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0) ||
	    bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    (type == SOCK_STREAM && listen(fd, 64) < 0))
		return error_errno(e, -errno, "%s port 53 of " DNS_STUB_ADDR " cannot be opened",
				   type == SOCK_STREAM ? "TCP" : "UDP");
	int bound = fd;
	fd = -1;
	return bound;
}

/* Every name ends within its room and is one. */
static int check(const struct privsep_dns *q, struct error *e)
{
	if (q->nsearch > PRIVSEP_SEARCH || q->ndomains > PRIVSEP_DOMAINS || q->ndots > 15)
		return error_set(e, -EINVAL, "malformed search list");
	for (uint32_t i = 0; i < q->nsearch; i++)
		if (!memchr(q->search[i], '\0', PRIVSEP_DOMAIN_LEN) || !dns_domain_ok(q->search[i]))
			return error_set(e, -EINVAL, "malformed search list: no domain");
	for (uint32_t i = 0; i < q->ndomains; i++)
		if (!memchr(q->domain[i], '\0', PRIVSEP_ROUTED_LEN) || !dns_domain_ok(q->domain[i]))
			return error_set(e, -EINVAL, "malformed list of domains: no domain");
	return 0;
}

/* --- resolv.conf ------------------------------------------------------------------------------ */

static int file_install(struct session *s, const struct privsep_dns *q, struct resolv_conf *before,
			struct error *e)
{
	const char *search[PRIVSEP_SEARCH];

	for (uint32_t i = 0; i < q->nsearch; i++)
		search[i] = q->search[i];
	/* Of an undo that failed, on a full disk perhaps. */
	int r = resolv_restore(s->options->resolv_conf, s->options->state, e);
	if (r < 0)
		return r;
	/* The guard before the change: a SIGKILL between the two finds it waiting. */
	r = guard_start(&s->names.guard, s->options, s->lock, e);
	if (r)
		return r;
	r = resolv_install(s->options->resolv_conf, s->options->state, search, q->nsearch, q->ndots,
			   before, e);
	if (r)
		guard_stop(&s->names.guard);
	return r;
}

/* --- systemd-resolved ------------------------------------------------------------------------- */

static int resolved_tell(struct session *s, const struct privsep_dns *q, struct error *e)
{
	struct resolved_domains d = {.nsearch = q->nsearch, .ndomains = q->ndomains};
	unsigned link = if_nametoindex(s->tun);

	for (uint32_t i = 0; i < q->nsearch; i++)
		d.search[i] = q->search[i];
	for (uint32_t i = 0; i < q->ndomains; i++)
		d.domain[i] = q->domain[i];
	return link ? resolved_set(s->names.resolved, link, &d, &s->names.left_out, e)
		    : error_set(e, -ENODEV, "DNS settings for a TUN device that is gone");
}

static void resolved_forget(struct session *s)
{
	resolved_close(s->names.resolved);
	s->names.resolved = NULL;
}

/* Tries this way; false: take the other. */
static bool resolved_install(struct session *s, const struct privsep_dns *q)
{
	struct error e = {""};

	if (!s->tun[0] || !resolved_is_asked(s->options->resolv_conf))
		return false;
	int r = resolved_open(&s->names.resolved, &e);
	if (r == 0)
		r = resolved_tell(s, q, &e);
	if (r == 0)
		return true;
	resolved_forget(s);
	/* It is busy, and will be told. The file would be no better: resolved reads it, and keeps
	 * its servers when the file has long been restored. */
	if (r == -ETIMEDOUT) {
		log_warn("%s; trying again", e.text);
		s->names.again_at = clock_boot() + (nsec_t)AGAIN_MS * NSEC_PER_MSEC;
		return true;
	}
	log_warn("%s; taking %s", e.text, s->options->resolv_conf);
	return false;
}

int names_poll(const struct session *s, int *wait_ms)
{
	const struct names *n = &s->names;

	if (n->again_at) {
		nsec_t now = clock_boot();
		int ms = n->again_at <= now ? 0 : (int)((n->again_at - now) / NSEC_PER_MSEC) + 1;
		*wait_ms = *wait_ms < 0 ? ms : MIN(*wait_ms, ms);
	}
	return n->resolved ? resolved_fd(n->resolved) : -1;
}

static void tell_again(struct session *s)
{
	struct names *n = &s->names;
	struct error e = {""};
	int r = n->resolved ? 0 : resolved_open(&n->resolved, &e);

	if (r == 0)
		r = resolved_tell(s, n->asked, &e);
	if (r == 0) {
		n->again_at = 0;
		log_info("systemd-resolved was told the domains of %s again", s->tun);
		return;
	}
	log_limited(&n->trouble, 60 * NSEC_PER_SEC, "%s", e.text);
	resolved_forget(s);
	n->again_at = clock_boot() + (nsec_t)AGAIN_MS * NSEC_PER_MSEC;
}

void names_look(struct session *s)
{
	struct names *n = &s->names;

	if (n->again_at && n->again_at <= clock_boot())
		tell_again(s);
	/* Afterwards, for a call may take in what poll() then does not see. */
	if (n->resolved) {
		int r = resolved_process(n->resolved);

		if (r < 0)
			resolved_forget(s);
		if (r)
			n->again_at = clock_boot();
	}
}

/* --- the request ------------------------------------------------------------------------------ */

static int change(struct session *s, const struct privsep_dns *q, struct error *e)
{
	struct names *n = &s->names;

	if (n->way == PRIVSEP_DNS_FILE) {
		/* The file names no domains but the search list. */
		if (q->nsearch != n->asked->nsearch || q->ndots != n->asked->ndots ||
		    memcmp(q->search, n->asked->search, sizeof(q->search)) != 0)
			return error_set(e, -EEXIST, "this daemon has its search list already");
		return 0;
	}
	*n->asked = *q;
	if (!n->resolved) { /* it hears of it when it is back */
		n->again_at = clock_boot();
		return 0;
	}
	int r = resolved_tell(s, q, e);
	if (r)
		n->again_at = clock_boot() + (nsec_t)AGAIN_MS * NSEC_PER_MSEC;
	return r;
}

static int install(struct session *s, const struct privsep_dns *q, struct resolv_conf *before,
		   struct error *e)
{
	struct names *n = &s->names;

	n->asked = malloc(sizeof(*n->asked));
	if (!n->asked)
		return error_errno(e, -ENOMEM, "DNS settings");
	*n->asked = *q;
	/* A resolv.conf that is still ours would be taken for the laptop's own. */
	int r = resolv_restore(s->options->resolv_conf, s->options->state, e);
	if (r >= 0 && resolved_install(s, q)) {
		n->way = PRIVSEP_DNS_RESOLVED;
		laptop_resolvers(before);
		return 0;
	}
	r = r < 0 ? r : file_install(s, q, before, e);
	if (r == 0)
		n->way = PRIVSEP_DNS_FILE;
	else
		free_ptr(&n->asked);
	return r;
}

void session_dns(struct session *s, const struct privsep_dns *q, struct privsep_answer *a, int *fds)
{
	struct resolv_conf before;
	struct error e = {""};
	int r = check(q, &e);

	if (r == 0 && s->names.way) {
		r = change(s, q, &e);
		a->dns_way = s->names.way;
		a->domains_left_out = s->names.left_out;
	}
	if (r || s->names.way) {
		answer(a, r, &e);
		return;
	}
	cleanup(close_fd) int udp = bind_stub(SOCK_DGRAM, &e);
	cleanup(close_fd) int tcp = udp < 0 ? udp : bind_stub(SOCK_STREAM, &e);
	r = tcp < 0 ? tcp : install(s, q, &before, &e);
	if (r) {
		answer(a, r, &e);
		return;
	}
	a->dns_way = s->names.way;
	a->domains_left_out = s->names.left_out;
	a->nresolvers = MIN(before.nresolvers, (unsigned)PRIVSEP_RESOLVERS);
	memcpy(a->resolver, before.resolver, a->nresolvers * sizeof(a->resolver[0]));
	a->nsearch = MIN(before.nsearch, (unsigned)PRIVSEP_SEARCH);
	memcpy(a->search, before.search, a->nsearch * sizeof(a->search[0]));
	fds[a->nfds++] = udp;
	fds[a->nfds++] = tcp;
	udp = tcp = -1;
}

int names_undo(struct session *s, struct error *e)
{
	struct names *n = &s->names;
	int result = 0;

	if (n->way == PRIVSEP_DNS_FILE) {
		result = resolv_restore(s->options->resolv_conf, s->options->state, e);
		guard_stop(&n->guard);
	}
	resolved_close(n->resolved);
	free(n->asked);
	*n = (struct names){0};
	return result;
}
