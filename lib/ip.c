/* Addresses of the internet. */
#include "lib/ip.h"

#include <arpa/inet.h>
#include <string.h>

bool ip_of(const struct sockaddr *a, struct ip *out)
{
	const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;

	if (a->sa_family == AF_INET) {
		out->n = 4;
		memcpy(out->octet, &((const struct sockaddr_in *)(const void *)a)->sin_addr, 4);
	} else if (a->sa_family == AF_INET6) {
		out->n = IN6_IS_ADDR_V4MAPPED(six) ? 4 : 16;
		memcpy(out->octet, six->s6_addr + 16 - out->n, out->n);
	} else {
		return false;
	}
	inet_ntop(out->n == 4 ? AF_INET : AF_INET6, out->octet, out->text, sizeof out->text);
	return true;
}

bool ip_is_loopback(const struct sockaddr *a)
{
	const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;

	if (a->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
	return a->sa_family == AF_INET6 && (IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127));
}
