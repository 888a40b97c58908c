/* SPDX-License-Identifier: Apache-2.0 */
/*
 * systemd-resolved by D-Bus (org.freedesktop.resolve1): the TUN's link gets the stub as its server
 * and the cluster's domains as its own, so that resolved asks the stub for these names and for no
 * others. What it knows of a link ends with the link. No call waits for longer than CALL_MS, and
 * all of one request for no longer than ALL_MS.
 */
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "dns/dns.h"

#define NAME	"org.freedesktop.resolve1"
#define PATH	"/org/freedesktop/resolve1"
#define MANAGER NAME ".Manager"

enum { CALL_MS = 2000, ALL_MS = 5000, GLANCE_MS = 250, NSSWITCH_MAX = 65536, DOMAINS_SURE = 256 };

struct resolved {
	sd_bus *bus;
	bool is_new; /* it has come (back) since the last look */
};

static void bus_free(sd_bus **bus)
{
	sd_bus_close_unref(*bus);
}

static void reply_free(sd_bus_message **m)
{
	sd_bus_message_unref(*m);
}

static uint64_t usec_left(nsec_t end)
{
	nsec_t now = clock_boot();

	return now >= end ? 1 : MIN((end - now) / 1000, (nsec_t)CALL_MS * 1000);
}

/* --- the bus ---------------------------------------------------------------------------------- */

/* Connects; not by sd_bus_open_system() alone, whose greeting may take as long as the bus likes. */
static int bus_open(sd_bus **out, nsec_t end)
{
	cleanup(bus_free) sd_bus *bus = NULL;
	int r = sd_bus_open_system(&bus);

	while (r >= 0 && (r = sd_bus_is_ready(bus)) == 0) {
		r = sd_bus_process(bus, NULL);
		if (r < 0 || clock_boot() >= end)
			return r < 0 ? r : -ETIMEDOUT;
		if (r == 0)
			r = sd_bus_wait(bus, usec_left(end));
	}
	if (r < 0)
		return r;
	*out = steal_ptr(bus);
	return 0;
}

/* Is resolved there? It is not started for being asked. */
static int name_owned(sd_bus *bus, nsec_t end)
{
	cleanup(reply_free) sd_bus_message *m = NULL, *reply = NULL;
	int owned = 0;
	int r = sd_bus_message_new_method_call(bus, &m, "org.freedesktop.DBus",
					       "/org/freedesktop/DBus", "org.freedesktop.DBus",
					       "NameHasOwner");

	if (r >= 0)
		r = sd_bus_message_append(m, "s", NAME);
	if (r >= 0)
		r = sd_bus_call(bus, m, usec_left(end), NULL, &reply);
	if (r >= 0)
		r = sd_bus_message_read(reply, "b", &owned);
	return r < 0 ? r : owned;
}

static int on_owner(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	const char *name, *before, *after;
	struct resolved *r = arg;

	(void)error;
	if (sd_bus_message_read(m, "sss", &name, &before, &after) >= 0 && *after)
		r->is_new = true;
	return 0;
}

static void resolved_free(struct resolved **r)
{
	resolved_close(*r);
}

/* The bus may be that of another network namespace, whose links have other numbers. Where resolved is,
 * its address is taken. */
static bool listens_here(void)
{
	struct sockaddr_in sa = {
		.sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(0x7f000035)};
	cleanup(close_fd) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 && errno == EADDRINUSE;
}

int resolved_open(struct resolved **rp, struct error *e)
{
	cleanup(resolved_free) struct resolved *r = calloc(1, sizeof(*r));
	nsec_t end = clock_boot() + (nsec_t)CALL_MS * NSEC_PER_MSEC;

	if (!r)
		return error_errno(e, -ENOMEM, "systemd-resolved");
	if (!listens_here())
		return error_set(e, -ENOENT,
				 "systemd-resolved does not listen at 127.0.0.53 in this network");
	int err = bus_open(&r->bus, end);
	if (err < 0)
		return error_errno(e, err, "the system bus cannot be reached");
	sd_bus_set_method_call_timeout(r->bus, (uint64_t)CALL_MS * 1000);
	err = sd_bus_add_match(r->bus, NULL,
			       "type='signal',sender='org.freedesktop.DBus',"
			       "member='NameOwnerChanged',arg0='" NAME "'",
			       on_owner, r);
	if (err >= 0)
		err = name_owned(r->bus, end);
	if (err < 0)
		return error_errno(e, err, "the system bus does not answer");
	if (err == 0)
		return error_set(e, -ENOENT, "systemd-resolved does not run");
	*rp = steal_ptr(r);
	return 0;
}

void resolved_close(struct resolved *r)
{
	if (!r)
		return;
	sd_bus_close_unref(r->bus);
	free(r);
}

int resolved_fd(const struct resolved *r)
{
	return sd_bus_get_fd(r->bus);
}

int resolved_process(struct resolved *r)
{
	int err;

	do
		err = sd_bus_process(r->bus, NULL);
	while (err > 0);
	if (err < 0)
		return err;
	bool is_new = r->is_new;
	r->is_new = false;
	return is_new;
}

/* --- what it is told -------------------------------------------------------------------------- */

/* A call to resolved under way: the message, and what of the time is left. */
struct call {
	sd_bus *bus;
	nsec_t end;
	int ifindex;
};

static int call_new(const struct call *c, sd_bus_message **m, const char *method)
{
	int r = sd_bus_message_new_method_call(c->bus, m, NAME, PATH, MANAGER, method);

	/* It is there, or the settings come when it is. */
	return r < 0 ? r : sd_bus_message_set_auto_start(*m, 0);
}

static int call_end(const struct call *c, sd_bus_message *m, int r, struct error *e)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;

	if (r >= 0)
		r = sd_bus_call(c->bus, m, usec_left(c->end), &error, NULL);
	if (r < 0)
		error_set(e, r, "systemd-resolved: %s: %s", sd_bus_message_get_member(m),
			  error.message ? error.message : strerror(-r));
	/* An older one that has no such setting has no such feature either. */
	if (sd_bus_error_has_name(&error, SD_BUS_ERROR_UNKNOWN_METHOD))
		r = 0;
	sd_bus_error_free(&error);
	return MIN(r, 0);
}

static int set_servers(const struct call *c, struct error *e)
{
	cleanup(reply_free) sd_bus_message *m = NULL;
	struct ipaddr stub;
	int r = call_new(c, &m, "SetLinkDNS");

	if (r < 0 || ipaddr_parse(&stub, DNS_STUB_ADDR))
		return error_errno(e, MIN(r, -EINVAL), "systemd-resolved");
	/* Port 53 is what it takes for granted, also the versions that know no other. */
	r = sd_bus_message_append(m, "ia(iay)", c->ifindex, 1, AF_INET, 4, stub.b[0], stub.b[1],
				  stub.b[2], stub.b[3]);
	return call_end(c, m, r, e);
}

static int set_text(const struct call *c, const char *method, const char *value, struct error *e)
{
	cleanup(reply_free) sd_bus_message *m = NULL;
	int r = call_new(c, &m, method);

	if (r < 0)
		return error_errno(e, r, "systemd-resolved");
	return call_end(c, m, sd_bus_message_append(m, "is", c->ifindex, value), e);
}

/* Not for the names that nobody claims. */
static int set_no_default(const struct call *c, struct error *e)
{
	cleanup(reply_free) sd_bus_message *m = NULL;
	int r = call_new(c, &m, "SetLinkDefaultRoute");

	if (r < 0)
		return error_errno(e, r, "systemd-resolved");
	return call_end(c, m, sd_bus_message_append(m, "ib", c->ifindex, 0), e);
}

static bool is_search(const struct resolved_domains *d, const char *domain)
{
	for (unsigned i = 0; i < d->nsearch; i++)
		if (strcasecmp(d->search[i], domain) == 0)
			return true;
	return false;
}

/* The first `max` of them. */
static int set_some_domains(const struct call *c, const struct resolved_domains *d, unsigned max,
			    unsigned *left_out, struct error *e)
{
	cleanup(reply_free) sd_bus_message *m = NULL;
	int r = call_new(c, &m, "SetLinkDomains");
	unsigned n = d->nsearch;

	*left_out = 0;
	if (r < 0)
		return error_errno(e, r, "systemd-resolved");
	r = sd_bus_message_append(m, "i", c->ifindex);
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "(sb)");
	for (unsigned i = 0; r >= 0 && i < d->nsearch; i++)
		r = sd_bus_message_append(m, "(sb)", d->search[i], 0);
	for (unsigned i = 0; r >= 0 && i < d->ndomains; i++) {
		if (is_search(d, d->domain[i])) /* named twice the last word would count */
			continue;
		if (n++ < max)
			r = sd_bus_message_append(m, "(sb)", d->domain[i], 1);
		else
			++*left_out;
	}
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	return call_end(c, m, r, e);
}

static int set_domains(const struct call *c, const struct resolved_domains *d, unsigned *left_out,
		       struct error *e)
{
	int r = set_some_domains(c, d, UINT_MAX, left_out, e);

	return r == -E2BIG ? set_some_domains(c, d, DOMAINS_SURE, left_out, e) : r;
}

/* What was not found before may be there now. */
static int flush_caches(const struct call *c, struct error *e)
{
	cleanup(reply_free) sd_bus_message *m = NULL;
	int r = call_new(c, &m, "FlushCaches");

	return r < 0 ? error_errno(e, r, "systemd-resolved") : call_end(c, m, 0, e);
}

static void revert(const struct call *c)
{
	cleanup(reply_free) sd_bus_message *m = NULL;
	int r = call_new(c, &m, "RevertLink");

	if (r >= 0)
		call_end(c, m, sd_bus_message_append(m, "i", c->ifindex), NULL);
}

int resolved_set(struct resolved *r, unsigned ifindex, const struct resolved_domains *d,
		 unsigned *left_out, struct error *e)
{
	struct call c = {.bus = r->bus,
			 .end = clock_boot() + (nsec_t)ALL_MS * NSEC_PER_MSEC,
			 .ifindex = (int)ifindex};

	for (unsigned i = 0; i < d->nsearch + d->ndomains; i++)
		if (!dns_domain_ok(i < d->nsearch ? d->search[i] : d->domain[i - d->nsearch]))
			return error_set(e, -EINVAL, "a domain has characters that no domain has");
	/* The server last: until then the link answers nothing, so nothing strays to it. */
	int err = set_no_default(&c, e);
	if (err == 0)
		err = set_domains(&c, d, left_out, e);
	if (err == 0)
		err = set_text(&c, "SetLinkDNSSEC", "no", e);
	if (err == 0)
		err = set_text(&c, "SetLinkDNSOverTLS", "no", e);
	if (err == 0)
		err = set_text(&c, "SetLinkLLMNR", "no", e);
	if (err == 0)
		err = set_text(&c, "SetLinkMulticastDNS", "no", e);
	if (err == 0)
		err = set_servers(&c, e);
	if (err == 0)
		err = flush_caches(&c, e);
	if (err && err != -ETIMEDOUT)
		revert(&c);
	return err;
}

/* --- whether it is what programs ask ----------------------------------------------------------- */

static bool is_resolved(const union sockaddr_any *sa)
{
	struct ipaddr a = sockaddr_ip(sa);

	return a.family == 4 && a.b[0] == 127 && a.b[1] == 0 && a.b[2] == 0 &&
	       (a.b[3] == 53 || a.b[3] == 54);
}

/* Does the line "hosts:" of nsswitch.conf(5) name "resolve"? */
bool nsswitch_resolves(const char *text)
{
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		line += strspn(line, " \t");
		if (strncmp(line, "hosts:", 6) != 0)
			continue;
		for (line += 6;;) {
			line += strspn(line, " \t");
			size_t n = strcspn(line, " \t\n#");
			if (n == 0)
				break;
			if (n == 7 && strncmp(line, "resolve", 7) == 0)
				return true;
			line += n;
		}
	}
	return false;
}

bool resolved_is_asked(const char *resolv_conf)
{
	cleanup(free_ptr) char *text = NULL, *nss = NULL;
	struct resolv_conf rc;
	size_t len;

	if (file_read("/etc/nsswitch.conf", NSSWITCH_MAX, &nss, &len, NULL) == 0 &&
	    nsswitch_resolves(nss))
		return true;
	if (file_read(resolv_conf, NSSWITCH_MAX, &text, &len, NULL))
		return false;
	resolv_parse(&rc, text, len);
	for (unsigned i = 0; i < rc.nresolvers; i++)
		if (!is_resolved(&rc.resolver[i]))
			return false;
	return rc.nresolvers > 0;
}

/* --- what it says ----------------------------------------------------------------------------- */

static bool has_stub(sd_bus_message *m)
{
	int32_t family;
	const void *addr;
	struct ipaddr stub;
	size_t len;
	bool found = false;

	if (ipaddr_parse(&stub, DNS_STUB_ADDR) ||
	    sd_bus_message_enter_container(m, 'a', "(iay)") < 0)
		return false;
	while (sd_bus_message_enter_container(m, 'r', "iay") > 0) {
		if (sd_bus_message_read(m, "i", &family) < 0 ||
		    sd_bus_message_read_array(m, 'y', &addr, &len) < 0)
			return false;
		found |= family == AF_INET && len == 4 && memcmp(addr, stub.b, 4) == 0;
		sd_bus_message_exit_container(m);
	}
	return found;
}

bool resolved_has_stub(unsigned ifindex)
{
	cleanup(reply_free) sd_bus_message *m = NULL, *link = NULL, *reply = NULL;
	nsec_t end = clock_boot() + (nsec_t)GLANCE_MS * NSEC_PER_MSEC;
	cleanup(bus_free) sd_bus *bus = NULL;
	const char *path;

	if (bus_open(&bus, end) < 0)
		return false;
	struct call c = {.bus = bus};
	if (call_new(&c, &m, "GetLink") < 0 || sd_bus_message_append(m, "i", (int)ifindex) < 0 ||
	    sd_bus_call(bus, m, usec_left(end), NULL, &link) < 0 ||
	    sd_bus_message_read(link, "o", &path) < 0)
		return false;
	sd_bus_message_unref(m);
	m = NULL;
	/* Property "DNS" of a link: a(iay). */
	if (sd_bus_message_new_method_call(bus, &m, NAME, path, "org.freedesktop.DBus.Properties",
					   "Get") < 0 ||
	    sd_bus_message_append(m, "ss", NAME ".Link", "DNS") < 0 ||
	    sd_bus_call(bus, m, usec_left(end), NULL, &reply) < 0 ||
	    sd_bus_message_enter_container(reply, 'v', "a(iay)") < 0)
		return false;
	return has_stub(reply);
}
