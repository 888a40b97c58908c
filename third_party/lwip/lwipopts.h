/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lwIP as netstack/ uses it: TCP alone, by the raw API, in one thread. Its IP layer, timers and netifs
 * are not compiled: netstack/lwip_ip.c stands in for them.
 */
#pragma once

#define NO_SYS		     1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_SOCKET	     0
#define LWIP_NETCONN	     0
#define LWIP_TIMERS	     0

#define LWIP_IPV4			1
#define LWIP_IPV6			1
#define LWIP_IPV6_SCOPES		0
#define LWIP_ND6_TCP_REACHABILITY_HINTS 0
#define LWIP_ARP			0
#define LWIP_ETHERNET			0
#define LWIP_ICMP			0
#define LWIP_ICMP6			0
#define LWIP_IPV6_MLD			0
#define LWIP_RAW			0
#define LWIP_UDP			0
#define LWIP_DNS			0
#define IP_FORWARD			0
#define IP_REASSEMBLY			0
#define IP_FRAG				0
#define LWIP_IPV6_REASS			0
#define LWIP_IPV6_FRAG			0
#define LWIP_NETIF_LOOPBACK		0
#define LWIP_SINGLE_NETIF		1

/* malloc; netstack bounds connections and bytes before lwIP is asked for any. */
#define MEM_LIBC_MALLOC		 1
#define MEMP_MEM_MALLOC		 1
#define MEM_ALIGNMENT		 8
#define MEMP_NUM_TCP_PCB	 1
#define LWIP_SUPPORT_CUSTOM_PBUF 1

/* base/pkt.h: inside culvert nobody computes or looks at TCP checksums. */
#define CHECKSUM_GEN_IP	      0
#define CHECKSUM_GEN_TCP      0
#define CHECKSUM_CHECK_IP     0
#define CHECKSUM_CHECK_TCP    0
#define LWIP_CHECKSUM_ON_COPY 0

#define LWIP_STATS 0
#define MIB2_STATS 0
#define LWIP_DEBUG 0
#undef LWIP_DEBUG

#define LWIP_TCP		   1
#define TCP_TTL			   64
#define TCP_MSS			   1380 /* IPv4's; each connection's comes from the MTU (1420) */
#define TCP_CALCULATE_EFF_SEND_MSS 1
#define LWIP_WND_SCALE		   1
#define TCP_RCV_SCALE		   7
#define TCP_WND			   (4 << 20)
#define TCP_SND_BUF		   (4 << 20)
#define TCP_SND_QUEUELEN	   16384 /* pbufs: bounds what single-byte segments cost */
#define TCP_SNDLOWAT		   (TCP_SND_BUF / 2)
#define TCP_SNDQUEUELOWAT	   64
#define TCP_OVERSIZE		   0 /* tcp_write() never copies */
#define TCP_QUEUE_OOSEQ		   1
#define TCP_OOSEQ_MAX_BYTES	   TCP_WND
#define TCP_OOSEQ_MAX_PBUFS	   4096
#define LWIP_TCP_SACK_OUT	   1
#define LWIP_TCP_TIMESTAMPS	   1
#define LWIP_TCP_KEEPALIVE	   1
#define TCP_LISTEN_BACKLOG	   0 /* its counter has 8 bits; netstack counts itself */
#define LWIP_TCP_PCB_NUM_EXT_ARGS  2 /* 0: the peer that is charged; 1: the stream */
/* Window updates are netstack's business: see window_update() in tcp_stream.c. */
#define TCP_WND_UPDATE_THRESHOLD TCP_WND

#define TCP_TMR_INTERVAL 20 /* ms: delayed ACKs; the slow timer has twice that */
#define TCP_MSL		 1000UL
#define TCP_SYNMAXRTX	 255 /* netstack_connect() has its own timeout */
#define TCP_MAXRTX	 40  /* with the cap of 30 s: some 18 minutes, about what Linux does */

#define LWIP_HOOK_FILENAME			  "lwip_hooks.h"
#define LWIP_HOOK_TCP_ISN(lip, lport, rip, rport) netstack_isn(lip, lport, rip, rport)
