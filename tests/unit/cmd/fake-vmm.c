/* SPDX-License-Identifier: MIT */
/*
 * A husk-vmm without a machine in it: takes the same arguments, speaks vm/control.h, and plays the
 * guest that the words of --append describe, one after the other. What is typed is echoed as it is.
 *
 *   say:TEXT      write TEXT and a line feed ("_" is a space)
 *   fill:N        write N bytes of output, "0123456789..." with a line feed after 63
 *   typed:TEXT    wait until TEXT and a line feed was typed; echo meanwhile
 *   button        wait for the power button       deaf   ignore every message from now on
 *   reset         the guest resets; waits for the answer
 *   poweroff, triple, panic, engine, debug:N      end in that way
 *   bye:MS        powers off, and takes a while to end
 *   error:TEXT    VMM_ERROR, exit 1               usage:TEXT  VMM_ERROR, exit 2
 *   crash         SIGSEGV     sys   SIGSYS        exit:N      end without a word
 *   garbage       a datagram that is none         sleep:MS    do nothing
 *   stats:KIND    how questions for the counters are answered from now on, see stats()
 *   log:TEXT      a line on standard error        args   write the words about devices, ports, the screen
 *   draw:WxH      the screen shows that: x in red, y in green, blue 0x80     fill-screen:C   all of it in one colour
 *   pointer:X,Y   four pixels with their hot spot there
 *   device:N,S    VMM_DEVICE: device N is in state S
 *   port:TEXT     write TEXT and a line feed to the first console port; what comes from there is echoed with "<port>"
 * What comes from viewers is written as "<input TYPE CODE A B>". Without a last word it waits for messages for ever.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
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

#include "base/fdpass.h"
#include "display/input.h"
#include "display/scanout.h"
#include "vm/control.h"

static int control = -1, serial = -1, port = -1, screen = -1, event = -1;
static char devices[4096];
static bool pressed, answered, deaf;
static const char *stats_kind = "";
static char line[4096];
static size_t line_len;

static void tell(uint32_t type, uint32_t arg, uint32_t arg2, const char *text)
{
	struct vmm_msg m = {.type = type, .arg = arg, .arg2 = arg2, .len = (uint32_t)strlen(text)};

	memcpy(m.text, text, m.len);
	send(control, &m, offsetof(struct vmm_msg, text) + m.len, MSG_NOSIGNAL);
}

static void put(const char *p, size_t n)
{
	while (n) {
		ssize_t done = write(serial, p, n);

		if (done <= 0)
			_exit(9);
		p += done;
		n -= (size_t)done;
	}
}

static void end(uint32_t code, uint32_t arg2, const char *text)
{
	tell(VMM_EXIT, code, arg2, text);
	_exit(code == VMM_EXIT_DEBUG ? (int)arg2 : (int)code);
}

/* The answer to VMM_GET_STATS, as a good husk-vmm gives it and as a bad one may. */
static void stats(uint32_t id)
{
	static uint64_t asked;
	char text[VMM_TEXT_MAX + 1] = "";
	size_t n = 0;

	asked++;
	if (!strcmp(stats_kind, "silent"))
		return;
	if (!strcmp(stats_kind, "many")) { /* more than an answer may have, as husk-vmm sends it */
		static char all[2 * VMM_STATS_MAX];

		for (int i = 0; n < sizeof all - 64; i++)
			n += (size_t)snprintf(all + n, 64, "sensitive.i%d %d\n", i, i * 1000);
		vmm_stats_send(control, id, all, n);
	} else if (!strcmp(stats_kind, "parts")) {
		tell(VMM_STATS, 1, id, "interp.instruc");
		tell(VMM_STATS, 1, id + 7, "nobody asked for this\n");
		tell(VMM_STATS, 1, id, "");
		tell(VMM_STATS, 0, id, "tions 12345678\ninterp.blocks 1000000");
		tell(VMM_STATS, 0, id, "too.late 1\n");
	} else if (!strcmp(stats_kind, "hostile")) {
		memset(text, 'x', VMM_TEXT_MAX);
		tell(VMM_STATS, 1, id, "\033[2J\a 1\nname\033[31m \033]0;title\a\n 5\nalone\n\n- -1\n"
			"exits.a 18446744073709551615\nexits.b 18446744073709551615\nexits.c x\n\xc3\xa4 9\n");
		tell(VMM_STATS, 1, id, text);
		tell(VMM_STATS, 0, id, "\nafter \"that\"\n");
	} else if (!strcmp(stats_kind, "endless")) {
		memset(text, 'x', VMM_TEXT_MAX);
		for (int i = 0; i < 500; i++)
			tell(VMM_STATS, 1, id, text);
	} else {
		snprintf(text, sizeof text, "exits 42\nengine.name fake\ntlb.fills %llu\n",
			(unsigned long long)asked * 1000000);
		tell(VMM_STATS, 0, id, text);
	}
}

static void handle(void)
{
	struct vmm_msg m;
	struct input_event ev;
	unsigned nfds = 1;
	int fd = -1;
	char text[80];
	ssize_t n = fd_recv(control, &m, sizeof m, &fd, &nfds);

	if (n <= 0)
		_exit(7); /* the supervisor is gone */
	if (nfds)
		close(fd);
	if (deaf)
		return;
	switch (m.type) {
	case VMM_BUTTON:
		pressed = true;
		break;
	case VMM_QUIT:
		end(VMM_EXIT_STOPPED, 0, "stopped");
		break;
	case VMM_GET_STATS:
		stats(m.arg);
		break;
	case VMM_SERIAL_BREAK:
		put("<break>\n", 8);
		break;
	case VMM_NEW_DEVICE:
	case VMM_GIVE_UP:
		snprintf(text, sizeof text, "<%s %u%s>\n", m.type == VMM_GIVE_UP ? "give up" : "new", m.arg,
			nfds == (m.type == VMM_NEW_DEVICE) ? "" : " and a wrong number of descriptors");
		put(text, strlen(text));
		if (m.type == VMM_NEW_DEVICE)
			tell(VMM_DEVICE, m.arg, 1, "");
		break;
	case VMM_INPUT:
		assert(m.len && m.len <= INPUT_EVENTS * sizeof ev && !(m.len % sizeof ev));
		for (size_t i = 0; i + sizeof ev <= m.len; i += sizeof ev) {
			memcpy(&ev, m.text + i, sizeof ev);
			snprintf(text, sizeof text, "<input %u %u %d %d>\n", ev.type, ev.code, ev.a, ev.b);
			put(text, strlen(text));
		}
		break;
	case VMM_DO_RESET:
		put("<reset>\n", 8);
		answered = true;
		break;
	}
}

/* Serves both lines until a deadline (-1: none); true when a whole line was typed. */
static bool serve(int ms)
{
	struct pollfd p[3] = {{.fd = control, .events = POLLIN}, {.fd = serial, .events = POLLIN}, {.fd = port, .events = POLLIN}};

	if (poll(p, 3, ms) <= 0)
		return false;
	if (p[2].revents) {
		char buf[100] = "<port> ";
		ssize_t n = read(port, buf + 7, sizeof buf - 7);

		if (n <= 0)
			_exit(6);
		put(buf, (size_t)n + 7);
	}
	if (p[0].revents)
		handle();
	if (p[1].revents) {
		char c;

		if (read(serial, &c, 1) != 1)
			_exit(8);
		put(&c, 1);
		if (c == '\n' || c == '\r') {
			line[line_len] = 0;
			line_len = 0;
			return true;
		}
		if (line_len < sizeof line - 1)
			line[line_len++] = c;
	}
	return false;
}

static struct scanout *scanout(void)
{
	static struct scanout *s;
	struct err e;

	assert(s || !scanout_open(&s, screen, event, &e));
	return s;
}

/* What husk-vmm does with the framebuffer of early boot */
static void draw(unsigned w, unsigned h, bool plain, uint32_t colour)
{
	struct scanout *s = scanout();
	struct surface f;

	assert(scanout_mode(s, w, h, &f));
	for (unsigned y = 0; y < h; y++)
		for (unsigned x = 0; x < w; x++)
			*surface_row(&f, x, y) = plain ? colour : (x & 0xff) << 16 | (y & 0xff) << 8 | 0x80;
	scanout_damage(s, (struct rect){0, 0, w, h});
	scanout_commit(s);
}

static void play(char *word)
{
	static unsigned w, h;

	char *value = strchr(word, ':');

	if (value)
		*value++ = 0;
	for (char *p = value; p && *p; p++)
		if (*p == '_')
			*p = ' ';
	if (!strcmp(word, "say")) {
		put(value, strlen(value));
		put("\n", 1);
	} else if (!strcmp(word, "draw")) {
		assert(sscanf(value, "%ux%u", &w, &h) == 2);
		draw(w, h, false, 0);
	} else if (!strcmp(word, "fill-screen")) {
		draw(w, h, true, (uint32_t)strtoul(value, NULL, 16));
	} else if (!strcmp(word, "pointer")) {
		/* red, half white; nothing, blue; the lower right one is the hot spot */
		static const uint32_t px[4] = {0xffff0000, 0x80808080, 0, 0xff0000ff};
		int x, y;

		assert(sscanf(value, "%d,%d", &x, &y) == 2);
		scanout_cursor(scanout(), 2, 2, 1, 1, px);
		scanout_cursor_at(scanout(), x, y);
		scanout_commit(scanout());
	} else if (!strcmp(word, "log")) {
		fprintf(stderr, "husk-vmm: info: %s\n", value);
	} else if (!strcmp(word, "args")) {
		put(devices, strlen(devices));
	} else if (!strcmp(word, "device")) {
		tell(VMM_DEVICE, (uint32_t)atoi(value), (uint32_t)atoi(strchr(value, ',') + 1), "it talks nonsense");
	} else if (!strcmp(word, "port")) {
		assert(write(port, value, strlen(value)) > 0 && write(port, "\n", 1) == 1);
	} else if (!strcmp(word, "fill")) {
		for (long i = 0, n = atol(value); i < n; i += 64) {
			char row[80];

			snprintf(row, sizeof row, "%010ld%053d\n", i / 64, 0);
			assert(strlen(row) == 64);
			put(row, 64);
		}
	} else if (!strcmp(word, "typed")) {
		while (!serve(-1) || strcmp(line, value))
			;
	} else if (!strcmp(word, "button")) {
		while (!pressed)
			serve(-1);
	} else if (!strcmp(word, "deaf")) {
		deaf = true;
	} else if (!strcmp(word, "stats")) {
		stats_kind = value;
	} else if (!strcmp(word, "reset")) {
		answered = false;
		tell(VMM_RESET, 0, 0, "the guest rebooted");
		while (!answered)
			serve(-1);
	} else if (!strcmp(word, "sleep")) {
		usleep((useconds_t)atoi(value) * 1000);
	} else if (!strcmp(word, "poweroff")) {
		end(VMM_EXIT_POWEROFF, 0, "the guest powered off");
	} else if (!strcmp(word, "bye")) {
		tell(VMM_EXIT, VMM_EXIT_POWEROFF, 0, "the guest powered off");
		usleep((useconds_t)atoi(value) * 1000);
		_exit(0);
	} else if (!strcmp(word, "triple")) {
		end(VMM_EXIT_TRIPLE, 0, "triple fault at 0x1234");
	} else if (!strcmp(word, "panic")) {
		end(VMM_EXIT_PANIC, 0, "the guest told of its panic");
	} else if (!strcmp(word, "engine")) {
		end(VMM_EXIT_ENGINE, 0, "the engine cannot go on");
	} else if (!strcmp(word, "debug")) {
		end(VMM_EXIT_DEBUG, ((uint32_t)atoi(value) << 1 | 1) & 0xff, "debug exit");
	} else if (!strcmp(word, "error") || !strcmp(word, "usage")) {
		tell(VMM_ERROR, 0, 0, value);
		_exit(word[0] == 'u' ? 2 : 1);
	} else if (!strcmp(word, "crash")) {
		const struct rlimit none = {0, 0};

		setrlimit(RLIMIT_CORE, &none);
		signal(SIGSEGV, SIG_DFL);
		raise(SIGSEGV);
	} else if (!strcmp(word, "sys")) {
		const struct rlimit none = {0, 0};

		setrlimit(RLIMIT_CORE, &none);
		raise(SIGSYS);
	} else if (!strcmp(word, "exit")) {
		_exit(atoi(value));
	} else if (!strcmp(word, "garbage")) {
		send(control, "x", 1, MSG_NOSIGNAL);
	}
}

int main(int argc, char **argv)
{
	char script[4096] = "", *save = NULL;
	bool kernel = false;
	int allowed = 4;

	if (argc == 2 && !strcmp(argv[1], "--probe-engines")) {
		printf("kvm\tno\tno /dev/kvm\ninterp\tok\talways works\n");
		return 0;
	}
	prctl(PR_SET_NAME, "fake-vmm");
	for (int i = 1; i + 1 < argc; i++) {
		if (!strcmp(argv[i], "--control-fd"))
			control = atoi(argv[++i]);
		else if (!strcmp(argv[i], "--serial-fd"))
			serial = atoi(argv[++i]);
		else if (!strcmp(argv[i], "--append"))
			snprintf(script, sizeof script, "%s", argv[++i]);
		else if (!strcmp(argv[i], "--kernel-fd"))
			kernel = read(atoi(argv[++i]), line, 1) == 1;
		else if (!strcmp(argv[i], "--vhost") || !strcmp(argv[i], "--console") || !strcmp(argv[i], "--screen") ||
			!strcmp(argv[i], "--input-fd")) {
			size_t n = strlen(devices);

			if (argv[i][2] == 'c' && port < 0)
				port = atoi(strstr(argv[i + 1], ",fd=") + 4);
			snprintf(devices + n, sizeof devices - n, "%s %s\n", argv[i], argv[i + 1]);
			if (argv[i][2] == 's')
				assert(sscanf(argv[i + 1], "%*ux%*u,fd=%d,event=%d", &screen, &event) == 2);
			allowed += argv[i][2] == 's' ? 2 : 1;
			i++;
		}
	}
	assert(control > 2 && serial > 2 && kernel);
	/* no descriptor but ours came along */
	for (int fd = 3, n = 0; fd < 256; fd++) {
		char b[32];

		snprintf(b, sizeof b, "/proc/self/fd/%d", fd);
		n += !access(b, F_OK);
		assert(n <= allowed);
	}
	for (char *w = strtok_r(script, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		static bool ready;

		if (!ready && strncmp(w, "error", 5) && strncmp(w, "usage", 5) && strncmp(w, "exit", 4))
			tell(VMM_READY, 0, 0, "engine=fake\nengine_why=it is a test\nboot=nothing at all\n"
				"sandbox=no-new-privs\tok\t\nsandbox=root\tno\ttmpfs: Permission denied\n"
				"sandbox=seccomp\tok\tfilter of this program\nnonsense\nsandbox=bad\n");
		ready = true;
		play(w);
	}
	for (;;)
		serve(-1);
}
