/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For programs that are linked statically: they look up no names, but libevent has a helper that could, and with it would come
 * glibc's NSS, which loads shared libraries at run time. These take its place in the link.
 */
#include <netdb.h>
#include <stddef.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		struct addrinfo **res)
{
	(void)node;
	(void)service;
	(void)hints;
	*res = NULL;
	return EAI_FAIL;
}

void freeaddrinfo(struct addrinfo *ai)
{
	(void)ai;
}

struct protoent *getprotobynumber(int number)
{
	(void)number;
	return NULL;
}

struct servent *getservbyname(const char *name, const char *protocol)
{
	(void)name;
	(void)protocol;
	return NULL;
}
