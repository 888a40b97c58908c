/* SPDX-License-Identifier: Apache-2.0 */
/* What one daemon asks for: checked, done, and undone in the opposite order. */
#include <errno.h>
#include <stdio.h>

#include "helper/internal.h"

static void answer(struct privsep_answer *a, int code, const struct error *e)
{
	a->code = code;
	snprintf(a->text, sizeof(a->text), "%.*s", (int)sizeof(a->text) - 1, e->text);
}

/* --- TUN -------------------------------------------------------------------------------------- */

static bool addr_ok(const struct ipaddr *a)
{
	return (a->family == 4 || a->family == 6) && !ipaddr_is_loopback(a) &&
	       !ipaddr_is_linklocal(a) && !ipaddr_is_multicast(a) && !ipaddr_is_unspecified(a);
}

static int add_addresses(struct session *s, const struct privsep_tun *q, struct privsep_answer *a,
			 struct error *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(q->addr); i++) {
		const struct ipaddr *ip = &q->addr[i];
		char text[ADDR_STRLEN];

		if (ip->family == 0)
			continue;
		if (!addr_ok(ip))
			return error_set(e, -EINVAL, "no address for a TUN device: %s",
					 ip->family == 4 || ip->family == 6
						 ? ipaddr_format(ip, text)
						 : "unknown family");
		if (ip->family == 6 && tun_ipv6_off(s->tun)) {
			snprintf(a->text, sizeof(a->text),
				 "IPv6 is switched off on this machine (sysctl "
				 "net.ipv6.conf.%s.disable_ipv6): "
				 "the address %s was left out",
				 s->tun, ipaddr_format(ip, text));
			continue;
		}
		int r = tun_add_addr(s->tun, ip, e);
		if (r)
			return r;
		s->addr[i] = *ip;
	}
	return 0;
}

static void tun_undo(struct session *s, int *result, struct error *e)
{
	if (!s->tun[0])
		return;
	int r = tun_remove(s->tun, *result ? NULL : e);
	if (r && *result == 0)
		*result = r;
	close(s->tun_fd);
	s->tun[0] = '\0';
	memset(s->addr, 0, sizeof(s->addr));
	s->routes.n = 0; /* they went with it */
}

void session_tun(struct session *s, const struct privsep_tun *q, struct privsep_answer *a, int *fds)
{
	char name[TUN_NAME_LEN] = "culvert%d";
	struct error e = {""};
	int ignored = 1;

	if (s->tun[0]) {
		error_set(&e, -EEXIST, "this daemon has %s already", s->tun);
		answer(a, -EEXIST, &e);
		return;
	}
	int fd = tun_create(name, &e);
	if (fd < 0) {
		answer(a, fd, &e);
		return;
	}
	memcpy(s->tun, name, sizeof(s->tun));
	s->tun_fd = fd;
	int r = add_addresses(s, q, a, &e);
	int copy = r ? -1 : dup(fd);
	if (r == 0 && copy < 0)
		r = error_errno(&e, -errno, "%s", name);
	if (r) {
		tun_undo(s, &ignored, NULL);
		answer(a, r, &e);
		return;
	}
	memcpy(a->tun_name, name, sizeof(a->tun_name));
	fds[a->nfds++] = copy;
}

/* --- routes ----------------------------------------------------------------------------------- */

static bool has_route(const struct privsep_routes *set, const struct prefix *p)
{
	for (uint32_t i = 0; i < set->n; i++)
		if (prefix_equal(&set->prefix[i], p))
			return true;
	return false;
}

static int prefix_check(const struct prefix *p, struct error *e)
{
	unsigned bits = p->addr.family == 4 ? 32 : p->addr.family == 6 ? 128 : 0;

	if (bits == 0 || p->len > bits)
		return error_set(e, -EINVAL, "malformed prefix");
	for (unsigned i = p->len; i < bits; i++)
		if (p->addr.b[i / 8] & 0x80 >> i % 8)
			return error_set(e, -EINVAL, "malformed prefix: host bits are set");
	return 0;
}

/* The wanted set without repetitions and, where IPv6 is off, without IPv6; all checked before
 * anything changes. */
static int wanted_routes(const struct session *s, const struct privsep_routes *q,
			 struct privsep_routes *want, struct privsep_answer *a, struct error *e)
{
	bool ipv6_off = tun_ipv6_off(s->tun);
	unsigned skipped = 0;

	want->n = 0;
	if (q->n > PRIVSEP_PREFIXES)
		return error_set(e, -EINVAL, "more than %d prefixes", PRIVSEP_PREFIXES);
	for (uint32_t i = 0; i < q->n; i++) {
		const struct prefix *p = &q->prefix[i];
		int r = prefix_check(p, e);

		if (r == 0)
			r = tun_check_route(p, s->tun, e);
		if (r)
			return r;
		if (p->addr.family == 6 && ipv6_off)
			skipped++;
		else if (!has_route(want, p))
			want->prefix[want->n++] = *p;
	}
	if (skipped)
		snprintf(a->text, sizeof(a->text),
			 "IPv6 is switched off on this machine (sysctl "
			 "net.ipv6.conf.%s.disable_ipv6): "
			 "%u IPv6 routes were left out",
			 s->tun, skipped);
	return 0;
}

static int add_route(const struct session *s, const struct prefix *p, struct error *e)
{
	const struct ipaddr *src = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(s->addr); i++)
		if (s->addr[i].family == p->addr.family)
			src = &s->addr[i];
	return tun_add_route(s->tun, p, src, e);
}

/* Adds what is new, then removes what is not wanted: a flow never meets a gap. */
static int change_routes(struct session *s, const struct privsep_routes *want, struct error *e)
{
	uint32_t done;
	int r = 0;

	for (done = 0; done < want->n; done++) {
		/* Those that should be there already are added too: somebody may
		 * have removed them. */
		r = add_route(s, &want->prefix[done], e);
		if (r == -EEXIST && has_route(&s->routes, &want->prefix[done]))
			r = 0;
		if (r)
			break;
	}
	if (r) {
		while (done--)
			if (!has_route(&s->routes, &want->prefix[done]))
				tun_del_route(s->tun, &want->prefix[done], NULL);
		return r;
	}
	/* -ESRCH: somebody else has removed it, and it was to go anyway. Nothing else can fail
	 * here. */
	for (uint32_t i = 0; i < s->routes.n; i++)
		if (!has_route(want, &s->routes.prefix[i]))
			tun_del_route(s->tun, &s->routes.prefix[i], NULL);
	s->routes = *want;
	return 0;
}

void session_routes(struct session *s, const struct privsep_routes *q, struct privsep_answer *a)
{
	struct privsep_routes want;
	struct error e = {""};
	int r;

	if (!s->tun[0])
		r = error_set(&e, -ENODEV, "routes before a TUN device");
	else
		r = wanted_routes(s, q, &want, a, &e);
	if (r == 0)
		r = change_routes(s, &want, &e);
	if (r)
		answer(a, r, &e);
}

/* --- undo ------------------------------------------------------------------------------------- */

int session_undo(struct session *s, struct error *e)
{
	int result = names_undo(s, e);

	tun_undo(s, &result, e);
	return result;
}
