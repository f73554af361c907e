/* SPDX-License-Identifier: MIT */
/*
 * Drives husk-net over vhost-user with the guest of tests/unit/net, whose TCP costs next to nothing: what is measured is
 * the device. net-client HUSK-NET down|up|rr|down-plain|up-plain SECONDS; one line: rate, CPU seconds of husk-net.
 * down: guest to host; -plain: a driver without segmentation offload. See bench/net.
 */
#undef NDEBUG
#include <arpa/inet.h>
#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../tests/unit/net/guest.h"
#include "base/util.h"
#include "vhost/proto.h"

enum { GATEWAY = 0x0a000202 };

static struct guest g;
static struct gtcp *conn;
static int kick_fd[2], call_fd;
static pid_t device;
static uint64_t rounds;
static bool rr;

static void kick(struct guest *guest, unsigned q)
{
	uint64_t one = 1;

	(void)guest;
	assert(write(kick_fd[q], &one, 8) == 8);
}

static void send_msg(int sock, unsigned request, size_t size, const union vhost_payload *p, int fd)
{
	struct vhost_msg m = {.h = {.request = request, .flags = VHOST_VERSION, .size = (uint32_t)size}};

	if (p)
		m.p = *p;
	if (fd >= 0) {
		m.fds[0] = fd;
		m.nfds = 1;
	}
	assert(!vhost_send(sock, &m, -1));
}

static void negotiate(int sock, uint64_t features)
{
	union vhost_payload p = {.u64 = 0};
	struct vhost_msg m;

	send_msg(sock, VHOST_SET_OWNER, 0, NULL, -1);
	send_msg(sock, VHOST_GET_FEATURES, 0, NULL, -1);
	assert(vhost_recv(sock, &m, 5000) == 1 && !(features & ~m.p.u64));
	p.u64 = features;
	send_msg(sock, VHOST_SET_FEATURES, 8, &p, -1);
	p.memory = (struct vhost_memory){.nregions = 1, .region[0] = {.size = mem_size(&g.mem)}};
	send_msg(sock, VHOST_SET_MEM_TABLE, 8 + sizeof(struct vhost_region), &p, g.mem.fd);
	for (unsigned i = 0; i < G_RINGS; i++) {
		const struct gring *r = &g.ring[i];

		p.state = (struct vhost_vring_state){.index = i, .num = r->size};
		send_msg(sock, VHOST_SET_VRING_NUM, 8, &p, -1);
		p.state.num = 0;
		send_msg(sock, VHOST_SET_VRING_BASE, 8, &p, -1);
		p.addr = (struct vhost_vring_addr){.index = i, .desc = r->desc, .used = r->used, .avail = r->avail};
		send_msg(sock, VHOST_SET_VRING_ADDR, sizeof p.addr, &p, -1);
		p.u64 = i;
		send_msg(sock, VHOST_SET_VRING_CALL, 8, &p, call_fd);
		kick_fd[i] = eventfd(0, EFD_CLOEXEC);
		send_msg(sock, VHOST_SET_VRING_KICK, 8, &p, kick_fd[i]);
	}
}

/* The host's side of the connection, in a process of its own. */
static uint16_t peer(char mode)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	static char buf[256 << 10];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), c;
	ssize_t n;

	assert(fd >= 0 && !bind(fd, (struct sockaddr *)&a, sizeof a) && !listen(fd, 1));
	assert(!getsockname(fd, (struct sockaddr *)&a, &len));
	if (fork()) {
		close(fd);
		return ntohs(a.sin_port);
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	c = accept(fd, NULL, NULL);
	for (;;) {
		n = mode == 'u' ? send(c, buf, sizeof buf, MSG_NOSIGNAL) : recv(c, buf, sizeof buf, 0);
		if (n > 0 && mode == 'r')
			n = send(c, buf, (size_t)n, MSG_NOSIGNAL);
		if (n <= 0)
			_exit(0);
	}
}

static void irq(struct watch *w, uint32_t events)
{
	uint64_t n;

	(void)events;
	if (read(w->fd, &n, 8) != 8)
		return;
	if (rr && conn && conn->open && conn->in == conn->want) {
		rounds++;
		conn->want++;
	}
	guest_poll(&g);
	if (rr && conn && conn->open && conn->in == conn->want) {
		rounds++;
		conn->want++;
		guest_output(&g, conn);
	}
}

static bool has_arp(struct guest *guest)
{
	return guest->arp;
}

static bool never(struct guest *guest)
{
	(void)guest;
	return false;
}

static double cpu_seconds(pid_t pid)
{
	char path[64], text[1024], *at;
	unsigned long user, sys;
	size_t n;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	f = fopen(path, "r");
	assert(f);
	n = fread(text, 1, sizeof text - 1, f);
	fclose(f);
	text[n] = '\0';
	at = strrchr(text, ')');
	assert(at && sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys) == 2);
	return (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
}

int main(int argc, char **argv)
{
	struct watch w = {.ready = irq};
	uint64_t features = G_CSUM | G_GUEST_CSUM | G_GUEST_TSO4 | G_HOST_TSO4, t, bytes;
	double cpu, s;
	int sv[2];
	char num[16];

	assert(argc == 4);
	if (strstr(argv[2], "plain"))
		features = 0;
	rr = argv[2][0] == 'r';
	assert(!socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	snprintf(num, sizeof num, "%d", sv[1]);
	device = fork();
	if (!device) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl(argv[1], argv[1], "--user", "--mac", "52:54:00:01:02:03", "--host-loopback", "--socket-fd", num, NULL);
		_exit(127);
	}
	close(sv[1]);
	guest_init(&g, loop_new(), features | G_MRG_RXBUF);
	g.kick = kick;
	g.plain = true;
	call_fd = w.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert(!loop_add(g.loop, &w, EPOLLIN));
	negotiate(sv[0], g.features | 1ull << 32);
	guest_post(&g);
	guest_arp(&g, GATEWAY);
	assert(guest_wait(&g, has_arp, 5000));
	conn = guest_connect(&g, GATEWAY, 30000, peer(argv[2][0]));
	conn->want = argv[2][0] == 'd' ? UINT64_MAX : rr ? 1 : 0;
	guest_wait(&g, never, 200);
	assert(conn->open);
	bytes = argv[2][0] == 'd' ? conn->sent : conn->in;
	rounds = 0;
	t = now_ns();
	cpu = cpu_seconds(device);
	guest_wait(&g, never, (unsigned)(atof(argv[3]) * 1000));
	s = (double)(now_ns() - t) / 1e9;
	cpu = cpu_seconds(device) - cpu;
	bytes = (argv[2][0] == 'd' ? conn->sent : conn->in) - bytes;
	if (rr)
		printf("%s %.0f rounds/s, %.0f %% of a CPU\n", argv[2], (double)rounds / s, cpu / s * 100);
	else
		printf("%s %.2f Gb/s, %.2f Gb per CPU second, %.0f %% of a CPU; %.0f bytes a frame\n", argv[2],
			(double)bytes * 8e-9 / s, (double)bytes * 8e-9 / cpu, cpu / s * 100,
			argv[2][0] == 'u' ? (double)bytes / (double)(g.frames - 1) : 0.0);
	kill(device, SIGKILL);
	waitpid(device, NULL, 0);
	return 0;
}
