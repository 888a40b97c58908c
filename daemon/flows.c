/* SPDX-License-Identifier: Apache-2.0 */
/* flows: /proc/net/tcp as packets. */
#include <netinet/tcp.h>

#include "base/ip.h"
#include "daemon/flows.h"

enum { IP4_LEN = 20, IP6_LEN = 40, TCP_LEN = 20 };

struct end {
	struct ipaddr addr;
	uint16_t port;
};

/* "0100007F:1F90": the address' 32-bit words as the machine reads them, the port as people do. */
static bool end_parse(struct end *e, const char *text)
{
	size_t digits = strspn(text, "0123456789ABCDEFabcdef");
	union sockaddr_any sa = {.sa.sa_family = digits == 8 ? AF_INET : AF_INET6};
	uint8_t *to = digits == 8 ? (uint8_t *)&sa.in.sin_addr : sa.in6.sin6_addr.s6_addr;
	unsigned word, port;

	if ((digits != 8 && digits != 32) || sscanf(text + digits, ":%4x", &port) != 1)
		return false;
	for (size_t i = 0; i < digits / 8; i++) {
		if (sscanf(text + 8 * i, "%8x", &word) != 1)
			return false;
		memcpy(to + 4 * i, &word, sizeof(word));
	}
	*e = (struct end){.addr = sockaddr_ip(&sa), .port = (uint16_t)port};
	return true;
}

/* States in which the kernel may have nothing to send and yet waits for the other end. */
static bool waits(unsigned state)
{
	return state == TCP_ESTABLISHED || state == TCP_FIN_WAIT2 || state == TCP_CLOSE_WAIT;
}

static void ask(const struct end *us, const struct end *them, uint32_t seq,
		void (*send)(void *arg, struct pkt *pkt), void *arg)
{
	uint8_t data[IP6_LEN + TCP_LEN] = {0}, *tcp;
	struct pkt pkt = {.data = data};

	if (us->addr.family == 4) {
		pkt.len = IP4_LEN + TCP_LEN;
		data[0] = 0x45;
		put_be16(data + 2, (uint16_t)pkt.len);
		data[8] = 64;
		data[9] = IP_PROTO_TCP;
		memcpy(data + 12, them->addr.b, 4);
		memcpy(data + 16, us->addr.b, 4);
		ip4_header_checksum(data);
		tcp = data + IP4_LEN;
	} else {
		pkt.len = IP6_LEN + TCP_LEN;
		data[0] = 0x60;
		put_be16(data + 4, TCP_LEN);
		data[6] = IP_PROTO_TCP;
		data[7] = 64;
		memcpy(data + 8, them->addr.b, 16);
		memcpy(data + 24, us->addr.b, 16);
		tcp = data + IP6_LEN;
	}
	put_be16(tcp, them->port);
	put_be16(tcp + 2, us->port);
	put_be32(tcp + 4, seq);
	tcp[12] = TCP_LEN / 4 << 4;
	tcp[13] = TCP_ACK;
	send(arg, &pkt);
}

unsigned flows_ask_table(FILE *table, const struct ipaddr *v4, const struct ipaddr *v6,
			 void (*send)(void *arg, struct pkt *pkt), void *arg)
{
	char line[512], local[48], remote[48];
	unsigned state, n = 0;

	while (fgets(line, sizeof(line), table)) {
		struct end us, them;

		if (sscanf(line, " %*u: %47s %47s %2x", local, remote, &state) != 3 ||
		    !waits(state) || !end_parse(&us, local) || !end_parse(&them, remote) ||
		    !ipaddr_equal(&us.addr, us.addr.family == 4 ? v4 : v6))
			continue;
		ask(&us, &them, 0, send, arg);
		ask(&us, &them, 1u << 31, send, arg);
		n++;
	}
	return n;
}

unsigned flows_ask(const struct ipaddr *v4, const struct ipaddr *v6,
		   void (*send)(void *arg, struct pkt *pkt), void *arg)
{
	static const char *const tables[] = {"/proc/net/tcp", "/proc/net/tcp6"};
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		FILE *f = fopen(tables[i], "re");

		if (!f)
			continue;
		n += flows_ask_table(f, v4, v6, send, arg);
		fclose(f);
	}
	return n;
}
