/* The client's side of SOCKS5 (RFC 1928) with name and password (RFC 1929), as octets in and octets out: a connection to an address, made by a
 * proxy. No descriptor, no clock. */
#ifndef LIB_SOCKS_H
#define LIB_SOCKS_H

#include <sys/socket.h>

#include "lib/buf.h"

struct socks_proxy {
	struct sockaddr_storage addr;
	socklen_t len;                  /* 0: no proxy */
	char name[64];                  /* "127.0.0.1:1080", for people */
	char user[256], password[256];  /* "": nobody */
};
/* "socks5://127.0.0.1:1080", "socks5://user:password@[::1]" (port 1080; %XX stands for an octet). NULL, or what is wrong. */
const char *socks_parse(struct str text, struct socks_proxy *out);

enum socks_state {
	SOCKS_METHOD, SOCKS_LOGIN, SOCKS_ANSWER,        /* an answer is awaited: to what we offer, our login, CONNECT */
	SOCKS_OPEN,                     /* what follows is between us and the other side */
	SOCKS_REFUSED,                  /* the proxy could not connect to that address */
	SOCKS_BROKEN                    /* it is not to be used: it refuses us, or speaks something else */
};
struct socks {
	enum socks_state state;
	const struct socks_proxy *proxy;
	struct sockaddr_storage to;
	char why[120];                  /* REFUSED, BROKEN: in words */
};
/* An IPv4 or IPv6 address with port. The proxy is borrowed. Appends what is to be said first. */
void socks_begin(struct socks *, const struct socks_proxy *, const struct sockaddr *to, struct buf *out);
/* Takes from what has come: returns how many octets of it are used up, 0: there is too little yet, or no more is wanted. Appends what is to be
 * said. Look at the state behind each call, and call again while octets are used. */
size_t socks_take(struct socks *, struct str in, struct buf *out);

#endif
