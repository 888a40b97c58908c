/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The redirect by nftables, spoken over netlink: one table that is replaced whole.
 *
 *   table inet culvert {
 *     chain prerouting {
 *       type nat hook prerouting priority dstnat;
 *       iifname != "lo" meta l4proto tcp tcp dport 8080 redirect to :9900
 *     }
 *   }
 *
 * Only prerouting, and not from lo: so no rule about users or processes is needed for the agent to reach the application.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "agent/redirect.h"
#include "base/log.h"

#define TABLE "culvert"
#define CHAIN "prerouting"

enum {
	BATCH_SIZE = 64 << 10, /* a rule takes about 500 bytes */
	ANSWER_SIZE = 32 << 10,
	ANSWER_SECONDS = 5,
	HEAD = sizeof(struct nlattr),
	DSTNAT = -100, /* the priority of that name */
	DIGEST_SIZE = 256,
};

/* --- messages --------------------------------------------------------------------------------------------- */

/* Messages behind each other, the last one open. */
struct batch {
	size_t len, at; /* at: of the open message */
	uint32_t seq;	/* of the last; the first is 1 */
	_Alignas(struct nlmsghdr) char buf[BATCH_SIZE];
};

static void *put(struct batch *b, size_t len)
{
	void *p = b->buf + b->len;

	if (b->len + NLMSG_ALIGN(len) > sizeof(b->buf))
		abort(); /* REDIRECTS_MAX of the largest rule fit */
	memset(p, 0, NLMSG_ALIGN(len));
	b->len += NLMSG_ALIGN(len);
	return p;
}

static void message(struct batch *b, uint16_t type, uint16_t flags, uint8_t family, uint16_t id)
{
	struct nlmsghdr *h;
	struct nfgenmsg *g;

	b->at = b->len;
	h = put(b, sizeof(*h));
	*h = (struct nlmsghdr){.nlmsg_type = type,
			       .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags),
			       .nlmsg_seq = ++b->seq};
	g = put(b, sizeof(*g));
	*g = (struct nfgenmsg){
		.nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(id)};
}

static void message_end(struct batch *b)
{
	struct nlmsghdr *h = (struct nlmsghdr *)(void *)(b->buf + b->at);

	h->nlmsg_len = (uint32_t)(b->len - b->at);
}

static void attr(struct batch *b, uint16_t type, const void *data, size_t len)
{
	struct nlattr *a = put(b, HEAD + len);

	*a = (struct nlattr){.nla_len = (uint16_t)(HEAD + len), .nla_type = type};
	memcpy((char *)a + HEAD, data, len);
}

static void attr_text(struct batch *b, uint16_t type, const char *text)
{
	attr(b, type, text, strlen(text) + 1);
}

/* Numbers are big-endian in nfnetlink. */
static void attr_u32(struct batch *b, uint16_t type, uint32_t v)
{
	uint32_t be = htonl(v);

	attr(b, type, &be, sizeof(be));
}

static size_t nest(struct batch *b, uint16_t type)
{
	size_t at = b->len;
	struct nlattr *a = put(b, HEAD);

	a->nla_type = (uint16_t)(type | NLA_F_NESTED);
	return at;
}

static void nest_end(struct batch *b, size_t at)
{
	struct nlattr *a = (struct nlattr *)(void *)(b->buf + at);

	a->nla_len = (uint16_t)(b->len - at);
}

/* --- the rule --------------------------------------------------------------------------------------------- */

struct expression {
	size_t element, data;
};

static struct expression expression(struct batch *b, const char *name)
{
	struct expression x = {.element = nest(b, NFTA_LIST_ELEM)};

	attr_text(b, NFTA_EXPR_NAME, name);
	x.data = nest(b, NFTA_EXPR_DATA);
	return x;
}

static void expression_end(struct batch *b, struct expression x)
{
	nest_end(b, x.data);
	nest_end(b, x.element);
}

static void load_meta(struct batch *b, uint32_t key)
{
	struct expression x = expression(b, "meta");

	attr_u32(b, NFTA_META_KEY, key);
	attr_u32(b, NFTA_META_DREG, NFT_REG_1);
	expression_end(b, x);
}

static void value(struct batch *b, uint16_t type, const void *data, size_t len)
{
	size_t at = nest(b, type);

	attr(b, NFTA_DATA_VALUE, data, len);
	nest_end(b, at);
}

static void compare(struct batch *b, uint32_t op, const void *data, size_t len)
{
	struct expression x = expression(b, "cmp");

	attr_u32(b, NFTA_CMP_SREG, NFT_REG_1);
	attr_u32(b, NFTA_CMP_OP, op);
	value(b, NFTA_CMP_DATA, data, len);
	expression_end(b, x);
}

static void load_dport(struct batch *b)
{
	struct expression x = expression(b, "payload");

	attr_u32(b, NFTA_PAYLOAD_DREG, NFT_REG_1);
	attr_u32(b, NFTA_PAYLOAD_BASE, NFT_PAYLOAD_TRANSPORT_HEADER);
	attr_u32(b, NFTA_PAYLOAD_OFFSET, 2); /* of TCP and of UDP */
	attr_u32(b, NFTA_PAYLOAD_LEN, 2);
	expression_end(b, x);
}

static void redirect_to(struct batch *b, uint16_t port)
{
	struct expression x = expression(b, "immediate");
	uint16_t to = htons(port);

	attr_u32(b, NFTA_IMMEDIATE_DREG, NFT_REG_1);
	value(b, NFTA_IMMEDIATE_DATA, &to, sizeof(to));
	expression_end(b, x);
	x = expression(b, "redir");
	attr_u32(b, NFTA_REDIR_REG_PROTO_MIN, NFT_REG_1);
	attr_u32(b, NFTA_REDIR_FLAGS, NF_NAT_RANGE_PROTO_SPECIFIED);
	expression_end(b, x);
}

static void rule(struct batch *b, const struct redirect *r)
{
	static const char lo[16] = "lo"; /* IFNAMSIZ */
	uint8_t protocol = r->udp ? IPPROTO_UDP : IPPROTO_TCP;
	uint16_t from = htons(r->from);
	size_t list;

	message(b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE,
		NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK, NFPROTO_INET, 0);
	attr_text(b, NFTA_RULE_TABLE, TABLE);
	attr_text(b, NFTA_RULE_CHAIN, CHAIN);
	list = nest(b, NFTA_RULE_EXPRESSIONS);
	load_meta(b, NFT_META_IIFNAME);
	compare(b, NFT_CMP_NEQ, lo, sizeof(lo));
	load_meta(b, NFT_META_L4PROTO);
	compare(b, NFT_CMP_EQ, &protocol, 1);
	load_dport(b);
	compare(b, NFT_CMP_EQ, &from, sizeof(from));
	redirect_to(b, r->to);
	nest_end(b, list);
	message_end(b);
}

/* --- the transaction ---------------------------------------------------------------------------------------- */

static void table(struct batch *b, uint16_t type, uint16_t flags)
{
	message(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags | NLM_F_ACK, NFPROTO_INET,
		0);
	attr_text(b, NFTA_TABLE_NAME, TABLE);
	message_end(b);
}

static void chain(struct batch *b)
{
	size_t hook;

	message(b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_ACK,
		NFPROTO_INET, 0);
	attr_text(b, NFTA_CHAIN_TABLE, TABLE);
	attr_text(b, NFTA_CHAIN_NAME, CHAIN);
	hook = nest(b, NFTA_CHAIN_HOOK);
	attr_u32(b, NFTA_HOOK_HOOKNUM, NF_INET_PRE_ROUTING);
	attr_u32(b, NFTA_HOOK_PRIORITY, (uint32_t)DSTNAT);
	nest_end(b, hook);
	attr_text(b, NFTA_CHAIN_TYPE, "nat");
	message_end(b);
}

static void batch_build(struct batch *b, const struct redirects *r)
{
	message(b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	message_end(b);
	/* Made if it is not there, so that it can be deleted whether it was or not. */
	table(b, NFT_MSG_NEWTABLE, NLM_F_CREATE);
	table(b, NFT_MSG_DELTABLE, 0);
	table(b, NFT_MSG_NEWTABLE, NLM_F_CREATE);
	chain(b);
	for (unsigned i = 0; i < r->n; i++)
		rule(b, &r->r[i]);
	message(b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	message_end(b);
}

static int netlink_open(int *fd)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	struct timeval limit = {.tv_sec = ANSWER_SECONDS};

	*fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (*fd < 0)
		return -errno;
	if (setsockopt(*fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    connect(*fd, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		return -errno;
	return 0;
}

/* Calls `each` for the messages of one answer; its result ends the reading unless it is 0. */
static int netlink_read(int fd, int (*each)(void *arg, const struct nlmsghdr *h), void *arg)
{
	_Alignas(struct nlmsghdr) static char buf[ANSWER_SIZE];
	ssize_t n;
	int r = 0;

	while (r == 0) {
		n = recv(fd, buf, sizeof(buf), MSG_TRUNC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		if (n > (ssize_t)sizeof(buf))
			return -EMSGSIZE;
		for (const struct nlmsghdr *h = (void *)buf; r == 0 && NLMSG_OK(h, n);
		     h = NLMSG_NEXT(h, n))
			r = each(arg, h);
	}
	return r < 0 ? r : 0;
}

/* Of an NLMSG_ERROR message, 0 = an acknowledgement. */
static int error_of(const struct nlmsghdr *h)
{
	const struct nlmsgerr *err = NLMSG_DATA(h);

	return h->nlmsg_len < NLMSG_LENGTH(sizeof(*err)) ? -EPROTO : err->error;
}

/* The last message with an acknowledgement is the one before the end of the batch. */
static int on_answer(void *arg, const struct nlmsghdr *h)
{
	const struct batch *b = arg;

	if (h->nlmsg_type != NLMSG_ERROR)
		return 0;
	if (error_of(h))
		return error_of(h);
	return h->nlmsg_seq == b->seq - 1;
}

/* --- read back ------------------------------------------------------------------------------------------------ */

/* What a rule says, the same for what was sent and for what the kernel shows: names of its expressions, operators and values. */
struct digest {
	size_t len;
	uint8_t b[DIGEST_SIZE];
};

static void digest_add(struct digest *d, const struct nlattr *a)
{
	size_t len = a->nla_len - HEAD;

	if (d->len + len > sizeof(d->b))
		len = sizeof(d->b) - d->len;
	memcpy(d->b + d->len, (const char *)a + HEAD, len);
	d->len += len;
}

#define ATTR_OK(a, left) ((left) >= HEAD && (a)->nla_len >= HEAD && (a)->nla_len <= (left))
#define ATTR_NEXT(a, left)                                                                         \
	((left) -= MIN((left), NLA_ALIGN((a)->nla_len)),                                           \
	 (const struct nlattr *)((const char *)(a) + NLA_ALIGN((a)->nla_len)))

/* The attribute of that type among those of `len` bytes at `p`, or NULL. */
static const struct nlattr *find(const void *p, int len, uint16_t type)
{
	for (const struct nlattr *a = p; ATTR_OK(a, len); a = ATTR_NEXT(a, len)) {
		if ((a->nla_type & NLA_TYPE_MASK) == type)
			return a;
	}
	return NULL;
}

static const struct nlattr *find_in(const struct nlattr *nested, uint16_t type)
{
	return nested ? find((const char *)nested + HEAD, nested->nla_len - HEAD, type) : NULL;
}

static bool attr_is(const struct nlattr *a, const char *text)
{
	return a && a->nla_len == HEAD + strlen(text) + 1 &&
	       !memcmp((const char *)a + HEAD, text, strlen(text) + 1);
}

static void digest_expression(struct digest *d, const struct nlattr *x)
{
	const struct nlattr *name = find_in(x, NFTA_EXPR_NAME), *data = find_in(x, NFTA_EXPR_DATA);
	const struct nlattr *v = NULL;

	if (name)
		digest_add(d, name);
	if (attr_is(name, "cmp")) {
		v = find_in(data, NFTA_CMP_OP);
		if (v)
			digest_add(d, v);
		v = find_in(find_in(data, NFTA_CMP_DATA), NFTA_DATA_VALUE);
	} else if (attr_is(name, "immediate")) {
		v = find_in(find_in(data, NFTA_IMMEDIATE_DATA), NFTA_DATA_VALUE);
	} else if (attr_is(name, "meta")) {
		v = find_in(data, NFTA_META_KEY);
	}
	if (v)
		digest_add(d, v);
}

/* False: not a rule of our chain. */
static bool digest_rule(struct digest *d, const struct nlmsghdr *h)
{
	const char *p = (const char *)NLMSG_DATA(h) + NLMSG_ALIGN(sizeof(struct nfgenmsg));
	int len = (int)h->nlmsg_len - (int)(p - (const char *)h), left;
	const struct nlattr *list, *x;

	d->len = 0;
	if (h->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE) || len < 0 ||
	    !attr_is(find(p, len, NFTA_RULE_TABLE), TABLE) ||
	    !attr_is(find(p, len, NFTA_RULE_CHAIN), CHAIN))
		return false;
	list = find(p, len, NFTA_RULE_EXPRESSIONS);
	if (!list)
		return true;
	left = list->nla_len - HEAD;
	for (x = (const void *)((const char *)list + HEAD); ATTR_OK(x, left);
	     x = ATTR_NEXT(x, left))
		digest_expression(d, x);
	return true;
}

/* The rules as they were sent, each to be met once and in this order. */
struct expected {
	const struct batch *sent;
	const struct nlmsghdr *next;
	size_t left; /* bytes of the batch from `next` */
	bool same;
};

static bool next_sent(struct expected *x, struct digest *d)
{
	while (NLMSG_OK(x->next, x->left)) {
		bool is_rule = digest_rule(d, x->next);

		x->next = NLMSG_NEXT(x->next, x->left);
		if (is_rule)
			return true;
	}
	return false;
}

static int on_rule(void *arg, const struct nlmsghdr *h)
{
	struct expected *x = arg;
	struct digest sent, there;

	if (h->nlmsg_type == NLMSG_ERROR)
		return error_of(h) ? error_of(h) : -EPROTO;
	if (h->nlmsg_type == NLMSG_DONE)
		return 1;
	if (digest_rule(&there, h))
		x->same = x->same && next_sent(x, &sent) && sent.len == there.len &&
			  !memcmp(sent.b, there.b, sent.len);
	return 0;
}

static int read_back(int fd, const struct batch *sent, struct error *e)
{
	static struct batch ask;
	struct digest rest;
	struct expected x = {
		.sent = sent, .next = (const void *)sent->buf, .left = sent->len, .same = true};
	int r;

	ask.len = ask.seq = 0;
	message(&ask, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE, NLM_F_DUMP, NFPROTO_INET, 0);
	attr_text(&ask, NFTA_RULE_TABLE, TABLE);
	attr_text(&ask, NFTA_RULE_CHAIN, CHAIN);
	message_end(&ask);
	r = send(fd, ask.buf, ask.len, 0) < 0 ? -errno : netlink_read(fd, on_rule, &x);
	if (r)
		return error_errno(e, r, "the redirect rules cannot be read back");
	if (!x.same || next_sent(&x, &rest))
		return error_set(e, -EIO,
				 "the kernel holds other redirect rules than it was given (table "
				 "inet " TABLE ")");
	return 0;
}

/* --- front ---------------------------------------------------------------------------------------------------- */

static int explain(int r, struct error *e)
{
	if (r == -EPERM || r == -EACCES)
		return error_set(
			e, r,
			"redirecting ports needs the capability NET_ADMIN, which this "
			"container does not have: name the port in the container and in the "
			"service's targetPort, and no redirect is needed");
	if (r == -EPROTONOSUPPORT || r == -EAFNOSUPPORT || r == -EOPNOTSUPP || r == -ENOENT)
		return error_set(
			e, r,
			"the node's kernel cannot redirect ports, it lacks nf_tables with NAT: "
			"name the port in the container and in the service's targetPort, and no "
			"redirect is needed");
	return error_errno(e, r, "the redirect rules are refused by the kernel");
}

int redirect_set(const struct redirects *r, struct error *e)
{
	static struct batch b;
	cleanup(close_fd) int fd = -1;
	int err = netlink_open(&fd);

	b.len = b.seq = 0;
	batch_build(&b, r);
	if (err == 0 && send(fd, b.buf, b.len, 0) < 0)
		err = -errno;
	if (err == 0)
		err = netlink_read(fd, on_answer, &b);
	return err ? explain(err, e) : read_back(fd, &b, e);
}

/* A port number at *p, which moves behind it; 0 = none. */
static uint16_t port(const char **p)
{
	unsigned v = 0;

	for (; **p >= '0' && **p <= '9'; (*p)++) {
		v = v * 10 + (unsigned)(**p - '0');
		if (v > UINT16_MAX)
			return 0;
	}
	return (uint16_t)v;
}

int redirect_parse(struct redirects *r, const char *text, struct error *e)
{
	const char *p = text;
	struct redirect one = {.from = port(&p)};

	if (*p == ':') {
		p++;
		one.to = port(&p);
	}
	one.udp = !strcmp(p, "/udp");
	if (!one.from || !one.to || (*p && !one.udp && strcmp(p, "/tcp") != 0))
		return error_set(e, -EINVAL,
				 "'%.100s' is not FROM:TO, FROM:TO/tcp or FROM:TO/udp with ports "
				 "from 1 to 65535",
				 text);
	if (r->n == REDIRECTS_MAX)
		return error_set(e, -EINVAL, "more than %d redirects", REDIRECTS_MAX);
	for (unsigned i = 0; i < r->n; i++) {
		if (r->r[i].from == one.from && r->r[i].udp == one.udp)
			return error_set(e, -EINVAL, "'%.100s': port %u is redirected twice", text,
					 one.from);
	}
	r->r[r->n++] = one;
	return 0;
}

int redirect_main(int argc, char **argv)
{
	struct redirects r = {.n = 0};
	struct error e;

	log_setup("culvert-agent", LOG_LEVEL_INFO);
	if (argc < 2) {
		fputs("Usage: culvert-agent redirect FROM:TO[/tcp|/udp]...\n", stderr);
		return 2;
	}
	for (int i = 1; i < argc; i++) {
		if (redirect_parse(&r, argv[i], &e)) {
			fprintf(stderr, "culvert-agent redirect: %s\n", e.text);
			return 2;
		}
	}
	if (redirect_set(&r, &e)) {
		log_error("redirect: %s", e.text);
		return 1;
	}
	for (unsigned i = 0; i < r.n; i++)
		log_info("redirect: %s port %u -> %u", r.r[i].udp ? "UDP" : "TCP", r.r[i].from,
			 r.r[i].to);
	return 0;
}
