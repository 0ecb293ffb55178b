/* ports N: prints N free TCP ports of 127.0.0.1, one a line.
 * A port is taken from the kernel and left in TIME_WAIT: for a minute the kernel gives it to nobody who asks for any
 * port, while a server that asks for this one (with SO_REUSEADDR, as servers do) gets it. So runs side by side do not
 * take each other's. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* The side that closes first keeps the TIME_WAIT: the server's. 0: the system refused. */
static unsigned reserve(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int server = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0), session, on = 1;
	socklen_t len = sizeof a;
	char end;

	setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(server, (struct sockaddr *)&a, sizeof a) == -1 || listen(server, 1) == -1 ||
		getsockname(server, (struct sockaddr *)&a, &len) == -1 ||
		connect(client, (struct sockaddr *)&a, sizeof a) == -1 || (session = accept(server, NULL, NULL)) == -1)
		return 0;
	close(session);
	if (read(client, &end, 1) != 0)
		return 0;
	close(client);
	close(server);
	return ntohs(a.sin_port);
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 1;

	for (int i = 0; i < n; i++) {
		unsigned port = reserve();

		if (!port) {
			perror("ports");
			return 1;
		}
		printf("%u\n", port);
	}
	return 0;
}
