/* Addresses of the internet as octets and as text. */
#ifndef LIB_IP_H
#define LIB_IP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

struct ip {
	size_t n;                               /* 4 or 16 octets */
	unsigned char octet[16];
	char text[INET6_ADDRSTRLEN];            /* "192.0.2.1", "2001:db8::1": how FACT_PTR is asked */
};
/* IPv4 dressed as IPv6 is IPv4. False: it is neither. */
bool ip_of(const struct sockaddr *, struct ip *out);
/* 127.0.0.0/8 (dressed as IPv6, too) or ::1. No address: no. */
bool ip_is_loopback(const struct sockaddr *);

#endif
