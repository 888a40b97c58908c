/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A laptop without a TUN, for tests of the manager: joins the overlay with a key whose Session the test makes, and does what lines on stdin
 * say. Every event is a line on stdout.
 *
 *   member                                                  prints a new key: private and public, in hex
 *   member PRIVATE-KEY-HEX MANAGER-KEY udp IP:PORT
 *   member PRIVATE-KEY-HEX MANAGER-KEY websocket KUBECONFIG PATH
 *
 * With MEMBER_TOKEN in the environment its handshakes carry that, as an agent's do.
 *
 *   hello JSON          the control connection is opened, hello said          -> hello CODE JSON
 *   call METHOD JSON                                                          -> answer CODE JSON
 *   get IP PORT TEXT    connects through the exit, writes TEXT, reads         -> got TEXT | failed ERRNO
 *   serve PORT TEXT     an intake: a request there is answered with TEXT
 *   bye
 * and by itself: established, renewed (another session, before the last one had ended), away, back, METHOD JSON (notifications), closed
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "base/program.h"
#include "kube/kube.h"
#include "netstack/netstack.h"
#include "node/node.h"
#include "rpc/rpc.h"

enum { LINE_MAX_HERE = RPC_MAX + 4096 }; /* what no message takes need not be said */

static struct {
	struct event_base *base;
	struct node *node;
	struct netstack *ns;
	struct overlay_peer *manager;
	struct identity id;
	struct ipaddr own, own4, other;
	struct rpc *rpc;
	char hello[512];
	uint16_t port; /* intake */
	char text[256];
} me;

static void say(const char *what, const char *more)
{
	printf("%s%s%s\n", what, *more ? " " : "", more);
	fflush(stdout);
}

static void say_json(const char *what, const json_t *j)
{
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

	say(what, text ? text : "null");
	free(text);
}

/* --- rpc ------------------------------------------------------------------------------------------------------ */

static void on_call(void *arg, struct rpc *r, const char *method, json_t *params,
		    struct rpc_request *req)
{
	(void)arg;
	(void)r;
	say_json(method, params);
	if (req)
		rpc_reply(req, json_object());
}

static void on_closed(void *arg, struct rpc *r, int error)
{
	(void)arg;
	(void)error;
	rpc_free(r);
	me.rpc = NULL;
	say("closed", "");
}

static void on_answer(void *arg, json_t *result, int code, const char *message)
{
	char head[32];
	const char *address = json_string_value(json_object_get(result, "address"));

	if (address)
		ipaddr_parse(&me.own4, address);
	snprintf(head, sizeof(head), "%s %d", (const char *)arg, code);
	if (result)
		say_json(head, result);
	else
		say(head, message ? message : "");
}

static void call(const char *method, const char *text, const char *answer)
{
	json_t *params = json_loads(*text ? text : "{}", 0, NULL);

	if (!params) {
		say(answer, "-1 no JSON");
		return;
	}
	if (!me.rpc || rpc_call(me.rpc, method, params, 20 * NSEC_PER_SEC, on_answer,
				(void *)(uintptr_t)answer))
		say(answer, "-1 no connection");
}

static void on_control(struct stream *s, unsigned ev, void *arg)
{
	static const struct rpc_ops ops = {on_call, on_closed};

	(void)arg;
	if (ev & STREAM_ERROR || rpc_new(&me.rpc, me.base, s, &ops, NULL)) {
		s->ops->abort(s);
		say("hello", "-1 no connection");
		return;
	}
	call("hello", me.hello, "hello");
}

static void hello(const char *text)
{
	struct stream *s;

	snprintf(me.hello, sizeof(me.hello), "%s", text);
	rpc_free(me.rpc);
	me.rpc = NULL;
	if (netstack_connect(me.ns, &me.own, &me.other, 1, NULL, 20 * NSEC_PER_SEC, &s)) {
		say("hello", "-1 no connection");
		return;
	}
	stream_set(s, on_control, NULL);
	s->ops->want(s, STREAM_WRITABLE);
}

/* --- through the exit ------------------------------------------------------------------------------------------ */

static void on_got(struct stream *s, unsigned ev, void *arg)
{
	char buf[4096], *text = arg;
	ssize_t n;

	if (ev & STREAM_ERROR) {
		snprintf(buf, sizeof(buf), "%d", -s->error);
		say("failed", buf);
		s->ops->abort(s);
		free(text);
		return;
	}
	if (ev & STREAM_WRITABLE) {
		stream_write(s, text, strlen(text));
		s->ops->want(s, STREAM_READABLE);
		return;
	}
	n = stream_read(s, buf, sizeof(buf) - 1);
	if (n == -EAGAIN)
		return;
	buf[MAX(n, 0)] = '\0';
	buf[strcspn(buf, "\r\n")] = '\0';
	say("got", buf);
	s->ops->close(s);
	free(text);
}

static void get(char *args)
{
	char ip[ADDR_STRLEN], text[2048] = "";
	unsigned port = 0;
	struct ipaddr to;
	struct stream *s;
	char *copy;

	if (sscanf(args, "%63s %u %2047[^\n]", ip, &port, text) < 2 || ipaddr_parse(&to, ip)) {
		say("failed", "usage");
		return;
	}
	copy = malloc(strlen(text) + 5);
	sprintf(copy, "%s\r\n\r\n", text);
	if (netstack_connect(me.ns, &me.own4, &to, (uint16_t)port, NULL, 20 * NSEC_PER_SEC, &s)) {
		say("failed", "start");
		free(copy);
		return;
	}
	stream_set(s, on_got, copy);
	s->ops->want(s, STREAM_WRITABLE);
}

/* --- intake ---------------------------------------------------------------------------------------------------- */

static void on_syn(void *arg, struct netstack_syn *syn, const struct flow *flow, void *peer)
{
	(void)arg;
	(void)peer;
	if (flow->dport == me.port && me.port)
		netstack_accept(me.ns, syn);
	else
		netstack_reject(me.ns, syn, REJECT_REFUSED);
}

static void on_cancel(void *arg, struct netstack_syn *syn, void *ctx)
{
	(void)arg;
	(void)syn;
	(void)ctx;
}

/* Closed only when the client has: what is not read would turn the end into a reset. */
static void on_served(struct stream *s, unsigned ev, void *arg)
{
	char buf[4096];
	ssize_t n;

	if (ev & STREAM_ERROR) {
		s->ops->abort(s);
		return;
	}
	n = stream_read(s, buf, sizeof(buf));
	if (n == 0)
		s->ops->close(s);
	if (n <= 0 || arg)
		return;
	stream_write(s, me.text, strlen(me.text));
	s->ops->shutdown(s);
	s->arg = s; /* answered */
}

static void on_open(void *arg, struct stream *s, void *ctx)
{
	(void)arg;
	(void)ctx;
	stream_set(s, on_served, NULL);
	s->ops->want(s, STREAM_READABLE);
}

static void serve(const char *args)
{
	unsigned port = 0;

	char text[128] = "";

	sscanf(args, "%u %127[^\n]", &port, text);
	snprintf(me.text, sizeof(me.text), "HTTP/1.0 200 OK\r\n\r\n%s\n", text);
	me.port = (uint16_t)port;
	say("serving", "");
}

/* --- the node --------------------------------------------------------------------------------------------------- */

static void on_inner(void *arg, struct overlay_peer *p, struct pkt *pkt)
{
	(void)arg;
	netstack_input(me.ns, pkt, p);
}

static void on_established(void *arg, struct overlay_peer *p, bool fresh)
{
	(void)arg;
	(void)p;
	say(fresh ? "established" : "renewed", "");
}

static void on_away(void *arg, struct overlay_peer *p)
{
	(void)arg;
	(void)p;
	say("away", "");
}

static void on_output(void *arg, struct pkt *pkt)
{
	(void)arg;
	node_send(me.node, pkt);
}

static void on_udp(void *arg, const struct flow *flow, const uint8_t *data, size_t len, void *peer)
{
	(void)arg;
	(void)flow;
	(void)data;
	(void)len;
	(void)peer;
}

static void on_echo(void *arg, const struct flow *flow, uint16_t seq, const uint8_t *data,
		    size_t len, void *peer)
{
	(void)seq;
	on_udp(arg, flow, data, len, peer);
}

static void go(const struct path *path)
{
	overlay_peer_set_path(me.manager, path);
	overlay_peer_persist(node_overlay(me.node), me.manager, true, clock_boot());
}

static void on_upgraded(void *arg, struct stream *s, const struct kube_reply *failure)
{
	struct path path;
	struct error e;

	(void)arg;
	if (!s || node_add_stream(me.node, s, NULL, &path, &e)) {
		say("refused", failure ? failure->sentence : e.text);
		return;
	}
	say("upgraded", "");
	go(&path);
}

static void on_line(evutil_socket_t fd, short what, void *arg)
{
	static char line[LINE_MAX_HERE];
	char *args, *end;

	(void)fd;
	(void)what;
	(void)arg;
	if (!fgets(line, sizeof(line), stdin) || !strncmp(line, "bye", 3)) {
		event_base_loopbreak(me.base);
		return;
	}
	end = strchr(line, '\n');
	if (!end) { /* the rest would be taken for other lines */
		say("failed", "a line is too long, or is not whole");
		event_base_loopbreak(me.base);
		return;
	}
	*end = '\0';
	args = line + strcspn(line, " ");
	if (*args)
		*args++ = '\0';
	if (!strcmp(line, "hello")) {
		hello(args);
	} else if (!strcmp(line, "call")) {
		char *params = args + strcspn(args, " ");

		if (*params)
			*params++ = '\0';
		call(args, params, "answer");
	} else if (!strcmp(line, "get")) {
		get(args);
	} else if (!strcmp(line, "serve")) {
		serve(args);
	}
}

static int start(char **argv, struct error *e)
{
	static const struct node_ops node_ops = {
		.inner = on_inner, .established = on_established, .away = on_away};
	static const struct netstack_ops stack_ops = {.output = on_output,
						      .tcp_syn = on_syn,
						      .tcp_cancel = on_cancel,
						      .tcp_open = on_open,
						      .udp = on_udp,
						      .echo = on_echo};
	struct node_config nc = {.base = me.base, .identity = me.id};
	struct prefix all = overlay_prefix(), everything;
	uint8_t key[KEY_LEN];
	const char *token;
	struct overlay *o;
	int r;

	sockaddr_parse(&nc.bind, "0.0.0.0:0");
	r = node_new(&me.node, &nc, &node_ops, NULL, e);
	if (r == 0)
		r = netstack_new(&me.ns, me.base, &stack_ops, NULL, NULL, e);
	if (r)
		return r;
	o = node_overlay(me.node);
	if (key_parse(key, argv[2]) || overlay_peer_add(o, &me.manager, key, NULL, NULL, NULL))
		return error_set(e, -EINVAL, "the manager's key");
	token = getenv("MEMBER_TOKEN");
	if (token && overlay_peer_set_token(me.manager, token, strlen(token)))
		return error_set(e, -EINVAL, "the token");
	prefix_parse(&everything, "0.0.0.0/0");
	overlay_route_add(o, &all, me.manager);
	overlay_route_add(o, &everything, me.manager);
	me.own = overlay_stack_addr(me.id.pub);
	me.other = overlay_stack_addr(key);
	return 0;
}

static int connect_manager(char **argv, struct kube_client **client, struct error *e)
{
	struct kube_flags flags = {.kubeconfig = argv[4]};
	struct kube_config *config = NULL;
	union sockaddr_any sa;
	struct path path;
	int r;

	if (!strcmp(argv[3], "udp")) {
		if (sockaddr_parse(&sa, argv[4]))
			return error_set(e, -EINVAL, "the endpoint");
		path = node_udp_path(me.node, &sa);
		go(&path);
		return 0;
	}
	r = kube_config_load(&config, &flags, e);
	if (r == 0)
		r = kube_client_new(client, me.base, config, NULL, e);
	if (r == 0 &&
	    kube_upgrade(*client, argv[5], NULL, "culvert.v1", 0, on_upgraded, NULL, NULL))
		r = error_set(e, -ENOMEM, "upgrade");
	return r;
}

static void hex(const uint8_t key[static KEY_LEN], char end)
{
	for (int i = 0; i < KEY_LEN; i++)
		printf("%02x", key[i]);
	putchar(end);
}

static int new_key(void)
{
	struct identity id;

	identity_generate(&id);
	hex(id.priv, ' ');
	hex(id.pub, '\n');
	return 0;
}

int main(int argc, char **argv)
{
	struct kube_client *client = NULL;
	struct event *in;
	struct error e;
	uint8_t priv[KEY_LEN];

	log_setup("member", LOG_LEVEL_INFO);
	setvbuf(stdin, NULL, _IONBF, 0);
	if (argc == 1 && crypto_init() == 0)
		return new_key();
	if (argc < 5 || crypto_init() || strlen(argv[1]) != 2 * KEY_LEN)
		return 2;
	for (size_t i = 0; i < KEY_LEN; i++)
		sscanf(argv[1] + 2 * i, "%2hhx", &priv[i]);
	program_start();
	me.base = event_base_new();
	identity_from_private(&me.id, priv);
	if (start(argv, &e) || connect_manager(argv, &client, &e)) {
		fprintf(stderr, "%s\n", e.text);
		return 1;
	}
	in = event_new(me.base, STDIN_FILENO, EV_READ | EV_PERSIST, on_line, NULL);
	event_add(in, NULL);
	event_base_dispatch(me.base);
	event_free(in);
	rpc_free(me.rpc);
	netstack_free(me.ns);
	kube_client_free(client);
	node_free(me.node);
	event_base_free(me.base);
	return 0;
}
