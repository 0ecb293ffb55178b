/* The ports of `listen`: opened, accepted on, and told from others' when a domain leads there. */
#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#include "cmd/running.h"
#include "lib/account.h"
#include "lib/ip.h"
#include "lib/log.h"

/* ---- which addresses they are */

static unsigned port_of(const struct sockaddr *a)
{
	return ntohs(a->sa_family == AF_INET6 ? ((const struct sockaddr_in6 *)(const void *)a)->sin6_port :
		((const struct sockaddr_in *)(const void *)a)->sin_port);
}

static bool same_host(const struct sockaddr *a, const struct sockaddr *b)
{
	if (a->sa_family != b->sa_family)
		return false;
	if (a->sa_family == AF_INET)
		return ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr == ((const struct sockaddr_in *)(const void *)b)->sin_addr.s_addr;
	return a->sa_family == AF_INET6 && memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr,
		&((const struct sockaddr_in6 *)(const void *)b)->sin6_addr, 16) == 0;
}

static bool is_any(const struct sockaddr *a)
{
	if (a->sa_family == AF_INET)
		return ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr == htonl(INADDR_ANY);
	return memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, &in6addr_any, 16) == 0;
}

static bool is_interface(const struct sockaddr *a)
{
	struct ifaddrs *all, *x;
	bool found = false;

	if (getifaddrs(&all) == -1)
		return false;
	for (x = all; x && !found; x = x->ifa_next)
		found = x->ifa_addr && same_host(x->ifa_addr, a);
	freeifaddrs(all);
	return found;
}

bool ports_are_at(const struct sockaddr *a)
{
	if (running.settings->smtp_port == 25 && (ip_is_loopback(a) || is_any(a)))
		return true;
	for (size_t i = 0; i < running.settings->nlisten; i++) {
		const struct sockaddr *l = (const struct sockaddr *)&running.settings->listen[i].addr;

		if (l->sa_family != AF_UNIX && port_of(l) == port_of(a) && (same_host(l, a) || (is_any(l) && is_interface(a))))
			return true;
	}
	return false;
}

/* ---- opening them */

static const char *local_path(const struct listen_on *l) { return ((const struct sockaddr_un *)(const void *)&l->addr)->sun_path; }

static int cannot_listen(const struct listen_on *l)
{
	return complain(EX_UNAVAILABLE, "%s: cannot listen on %s: %s.%s", l->where, l->text, strerror(errno),
		errno == EADDRINUSE ? " Another program has it; stop that one or choose another port" :
		errno == EACCES ? " Ports below 1024 need root or CAP_NET_BIND_SERVICE" :
		errno == EADDRNOTAVAIL ? " Choose an address of this host, or * for all" :
		errno == ENOENT ? " Make the directory that it shall lie in" : " Choose another address or port");
}

/* A socket that nobody listens on any more is the leftover of a server that was killed. */
static void remove_stale(const struct listen_on *l)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (fd == -1)
		return;
	if (connect(fd, (const struct sockaddr *)&l->addr, l->len) == -1 && errno == ECONNREFUSED &&
	    lstat(local_path(l), &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(local_path(l));
	close(fd);
}

/* /run is empty after a boot, and not everywhere a service manager fills it. */
static void make_place(const struct listen_on *l)
{
	struct str path = str_of(local_path(l)), above;
	char directory[PATH_MAX];
	struct account a;

	if (geteuid() == 0 && running.settings->user && !account_find(running.settings->user, &a) &&
	    str_cut_last(&path, '/', &above) && str_copy(directory, sizeof directory, above))
		account_make_first(&a, directory, 0755);        /* when it cannot, nobody can listen there, and that is told */
}

/* Who connects is known by the kernel (SO_PEERCRED): every account of this machine may. */
static int open_local(struct listen_on *l)
{
	make_place(l);
	remove_stale(l);
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd == -1 || bind(l->fd, (const struct sockaddr *)&l->addr, l->len) == -1 || chmod(local_path(l), 0666) == -1 ||
	    listen(l->fd, 1024) == -1)
		return cannot_listen(l);
	return 0;
}

static int open_port(struct listen_on *l)
{
	int on = 1, only_six;

	if (l->service == SMTPD_LOCAL)
		return open_local(l);
	only_six = !is_any((const struct sockaddr *)&l->addr);  /* "*" is IPv4 as well */
	l->fd = socket(l->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd == -1)
		return cannot_listen(l);
	setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (l->addr.ss_family == AF_INET6)
		setsockopt(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_six, sizeof only_six);
	if (bind(l->fd, (const struct sockaddr *)&l->addr, l->len) == -1 || listen(l->fd, 1024) == -1)
		return cannot_listen(l);
	return 0;
}

int ports_open(void)
{
	int status = 0;

	for (size_t i = 0; i < running.settings->nlisten && !status; i++)
		status = open_port(&running.settings->listen[i]);
	return status;
}

int ports_accept(void)
{
	for (size_t i = 0; i < running.settings->nlisten; i++) {
		struct listen_on *l = &running.settings->listen[i];

		if (smtpd_listen(l->fd, l->service) == -1)
			return cannot_listen(l);
		l->fd = -1;
		log_event(LOG_INFO, "listening", LF(L_TEXT("on", l->text)));
	}
	return 0;
}
