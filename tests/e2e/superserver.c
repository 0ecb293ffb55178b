/* superserver PROGRAM ARGUMENT...: what inetd does, for where none can be run: prints "port N" and starts the program
 * for every connection with the socket as its descriptors 0, 1 and 2. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof a;

	if (argc < 2 || bind(fd, (struct sockaddr *)&a, sizeof a) == -1 || listen(fd, 128) == -1 ||
		getsockname(fd, (struct sockaddr *)&a, &len) == -1) {
		perror("superserver");
		return 1;
	}
	printf("port %u\n", ntohs(a.sin_port));
	fflush(stdout);
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int peer = accept(fd, NULL, NULL);

		if (peer != -1 && fork() == 0) {
			signal(SIGCHLD, SIG_DFL);
			for (int i = 0; i < 3; i++)
				dup2(peer, i);
			close(peer);
			close(fd);
			execv(argv[1], argv + 1);
			_exit(127);
		}
		close(peer);
	}
}
