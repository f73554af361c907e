/* SPDX-License-Identifier: MIT */
/*
 * A husk-blk, husk-net, husk-gpu or husk-vnc without a device in it: takes the same arguments, speaks vm/control.h, and does what the word behind
 * --serial (or --hostname, --layout) says:
 *
 *   error    VMM_ERROR instead of READY            silent   ends before READY without a word
 *   crash    SIGSEGV, a little after READY         once     the same, but with --restart it works
 *   slow     never gets ready
 *   stuck    takes no notice of the end            twice    READY twice, and words nobody knows
 *   talk     logs 500 lines when it is asked for its counters
 *   other    works: READY, answers for counters, ends when it is told or its lines end
 */
#undef NDEBUG
#include <assert.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vm/control.h"

int main(int argc, char **argv)
{
	int control = -1, sock = -1;
	const char *word = "";
	bool restart = false, fail = false, vnc = false;
	struct vmm_msg m;
	char text[4000] = "", secret[100];
	ssize_t password = -1;
	const struct rlimit none = {0, 0};

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--control-fd"))
			control = atoi(argv[i + 1]);
		if (!strcmp(argv[i], "--socket-fd"))
			sock = atoi(argv[i + 1]);
		if (!strcmp(argv[i], "--serial") || !strcmp(argv[i], "--hostname") || !strcmp(argv[i], "--layout"))
			word = argv[i + 1];
		vnc |= !strcmp(argv[i], "--listen-fd");
		if (!strcmp(argv[i], "--password-fd"))
			password = read(atoi(argv[i + 1]), secret, sizeof secret);
		restart |= !strcmp(argv[i], "--restart");
		fail |= !strcmp(argv[i], "--fail");
		strncat(text, argv[i], 100);
		strcat(text, " ");
	}
	assert(control > 2 && (sock > 2) == !vnc);
	setrlimit(RLIMIT_CORE, &none);
	/* the arguments, where a test can read them */
	fprintf(stderr, "fake: %s\n", text);
	if (password >= 0)
		fprintf(stderr, "fake: the password has %zd bytes\n", password);
	if (!strcmp(word, "error")) {
		vmm_msg_send(control, VMM_ERROR, 1, 0, "it is locked by another program");
		return 1;
	}
	if (!strcmp(word, "silent"))
		return 3;
	while (!strcmp(word, "slow"))
		pause();
	vmm_msg_send(control, VMM_READY, 0, 0, fail ? "" : "engine=fake\nsandbox=seccomp\tok\tfilter\n"
		"sandbox=root\tno\ttmpfs: Permission denied\nnonsense\n");
	if (!strcmp(word, "twice")) {
		vmm_msg_send(control, 77, 0, 0, "\033[31m");
		fprintf(stderr, "husk-blk: error: no room on the host\nhusk-blk: info: x\n");
		vmm_msg_send(control, VMM_READY, 0, 0, "engine=\033[31mred\n");
	}
	if (!fail && (!strcmp(word, "crash") || (!strcmp(word, "once") && !restart))) {
		usleep(20000);
		signal(SIGSEGV, SIG_DFL); /* not a sanitizer's */
		raise(SIGSEGV);
	}
	for (;;) {
		struct pollfd p[2] = {{.fd = control, .events = POLLIN}, {.fd = sock, .events = POLLIN}};

		if (!strcmp(word, "stuck"))
			pause();
		poll(p, 2, -1);
		/* the fake husk-vmm closes what it is sent, so the end of sock says nothing */
		if (!(p[0].revents))
			poll(p, 1, -1);
		if (recv(control, &m, sizeof m, 0) <= 0 || m.type == VMM_QUIT)
			return 0;
		for (int i = 0; m.type == VMM_GET_STATS && !strcmp(word, "talk") && i < 500; i++)
			fprintf(stderr, "fake: line %d\n", i);
		if (m.type == VMM_GET_STATS)
			vmm_stats_send(control, m.arg, "reads 17\nbytes_read 8704\n", 25);
	}
}
