/* SPDX-License-Identifier: MIT */
/*
 * What the supervisor is told by others: the first byte chooses who. 0: a client of the control socket,
 * through the real server; 1: the guest's console, as the panic search and the escape key see it; 2: husk-vmm's
 * sandbox lines; 3 and 4: words of the user; 5: keys and pointers by QMP.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "cmd/devopt.h"
#include "cmd/displayopt.h"
#include "cmd/panic.h"
#include "cmd/parse.h"
#include "cmd/qmp.h"
#include "cmd/super-int.h"
#include "cmd/term.h"
#include "display/input.h"
#include "sandbox/sandbox.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static socklen_t address_len;

static json_t *echo(void *arg, json_t *args, struct err *e)
{
	(void)arg;
	if (!args)
		err_set(e, EINVAL, "nothing to say");
	return json_incref(args);
}

static const struct qmp_command commands[] = {{"echo", echo}, {NULL, NULL}};

static void stop(struct timer *t)
{
	(void)t;
	loop_stop(loop);
}

/* Lets the server do what it can do now. */
static void turn(void)
{
	static struct timer t = {.fire = stop};

	timer_set(loop, &t, 1);
	assert(!loop_run(loop));
}

static int dial(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert(fd >= 0 && !connect(fd, (struct sockaddr *)&address, address_len));
	return fd;
}

static void begin(void)
{
	struct err e;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	log_init("fuzz", LOG_ERR);
	signal(SIGPIPE, SIG_IGN);
	snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "husk-fuzz-%d", (int)getpid());
	address_len = sizeof address;
	loop = loop_new();
	assert(loop && fd >= 0 && !bind(fd, (struct sockaddr *)&address, address_len) && !listen(fd, 16));
	assert(qmp_new(loop, fd, commands, NULL, &e));
}

static void control(const uint8_t *data, size_t size)
{
	static const char hello[] = "{\"execute\":\"qmp_capabilities\"}{\"execute\":\"echo\",\"id\":1}";
	static unsigned runs;
	char buf[4096];
	size_t half = size ? data[0] % size : 0, n = 0;
	int fd = dial();

	assert(send(fd, hello, 30, MSG_NOSIGNAL) == 30);
	assert(send(fd, data, half, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0);
	turn();
	turn();
	send(fd, data + half, size - half, MSG_NOSIGNAL | MSG_DONTWAIT);
	turn();
	turn();
	close(fd);
	turn();
	if (runs++ % 64)
		return;
	/* whatever that was, the next client is served */
	fd = dial();
	assert(send(fd, hello, sizeof hello - 1, MSG_NOSIGNAL) == sizeof hello - 1);
	for (int i = 0; i < 8; i++)
		turn();
	while (n < sizeof buf - 1) {
		ssize_t k = recv(fd, buf + n, sizeof buf - 1 - n, MSG_DONTWAIT);

		if (k <= 0)
			break;
		n += (size_t)k;
	}
	buf[n] = 0;
	assert(strstr(buf, "nothing to say"));
	close(fd);
	turn();
}

static void menu(void *arg)
{
	++*(unsigned *)arg;
}

static bool key(void *arg, uint8_t k)
{
	--*(unsigned *)arg;
	return k == ESCAPE_KEY;
}

static void console(const uint8_t *data, size_t size)
{
	static struct panic p;
	unsigned open = 0;
	struct escape x = {.open = menu, .key = key, .arg = &open};
	uint8_t *copy = malloc(size + 1);
	char text[160];
	size_t n;

	assert(copy);
	panic_feed(&p, data, size);
	if (panic_find(&p, text)) {
		assert(strlen(text) < sizeof text);
		for (char *c = text; *c; c++)
			assert(*c >= 0x20 && *c < 0x7f);
	}
	if (size % 7 == 0)
		panic_forget(&p);
	memcpy(copy, data, size);
	n = escape_filter(&x, copy, size);
	assert(n <= size && open == x.pending);
	free(copy);
}

static void words(const char *s)
{
	static const char *const names[] = {"kernel", "memory", "cpus", NULL};
	struct err e;
	uint64_t v;
	unsigned u;

	if (!parse_size(s, &v, &e))
		assert(*s >= '0' && *s <= '9');
	if (!parse_memory(s, &v, &e))
		assert(v >= MIB && v % 4096 == 0);
	if (!parse_number(s, 1, 255, &u, &e))
		assert(u >= 1 && u <= 255);
	parse_duration(s, &v, &e);
	if (!parse_name(s, &e))
		assert(!strchr(s, '/') && s[0] != '.' && strlen(s) <= NAME_LEN_MAX);
	nearest(s, names);
}

/* What stands behind --disk, --net, --console, --vsock and --display, and what husk-vmm gets of it */
static void devices(const char *s)
{
	struct disk_config disk;
	struct net_config net;
	struct console_port port;
	struct vsock_socket vsock;
	struct display_config display;
	struct err e;

	if (!disk_parse(s, &disk, &e)) {
		assert(*disk.path && disk.queue_size >= 4 && !(disk.queue_size & (disk.queue_size - 1)));
		assert(!disk.seg_max || disk.seg_max <= disk.queue_size - 2);
		disk_config_free(&disk);
	}
	if (!net_parse(s, &net, &e)) {
		assert(net.kind != NET_TAP || (*net.path && strlen(net.path) < 16));
		net_config_free(&net);
	}
	if (!console_parse(s, 3, &port, &e)) {
		assert(*port.path && *port.name && !strchr(port.name, ','));
		console_port_free(&port);
	}
	if (!vsock_parse(s, &vsock, &e)) {
		assert(*vsock.path);
		vsock_socket_free(&vsock);
	}
	if (!display_parse(s, &display, &e)) {
		assert(!display.host || (*display.host && display.port <= 65535 && !display.path && (display.password_file || display.open)));
		assert(display.w >= 64 && display.w <= 4096 && !(display.w % 8) && display.h >= 64 && display.h <= 4096);
		assert(display.w * display.h <= 4 << 20 && display.heads >= 1 && display.heads <= 4);
		display_config_free(&display);
	}
}

/* What comes out of the other end of husk-vmm's line: whole events of a viewer's kind, with numbers in their limits. */
static unsigned received(int fd)
{
	struct vmm_msg m;
	unsigned events = 0;
	ssize_t n;

	while ((n = recv(fd, &m, sizeof m, MSG_DONTWAIT)) > 0) {
		assert((size_t)n == offsetof(struct vmm_msg, text) + m.len && m.type == VMM_INPUT);
		assert(!(m.len % sizeof(struct input_event)) && m.len <= INPUT_EVENTS * sizeof(struct input_event));
		for (size_t i = 0; i < m.len; i += sizeof(struct input_event), events++) {
			struct input_event ev;

			memcpy(&ev, m.text + i, sizeof ev);
			assert(ev.type >= INPUT_KEY && ev.type <= INPUT_RELEASE);
			assert(ev.type != INPUT_KEY || (ev.code && ev.code < 0x300 && ev.a >= 0 && ev.a <= 2));
			assert(ev.type != INPUT_POINT || (ev.a >= 0 && ev.a <= INPUT_POINT_MAX && ev.b >= 0 && ev.b <= INPUT_POINT_MAX));
			assert(ev.type != INPUT_BUTTON || (ev.code >= 0x110 && ev.code <= 0x114));
		}
	}
	return events;
}

static void input(const char *s)
{
	static json_t *(*const commands_of[])(void *, json_t *, struct err *) = {super_x_input, super_send_key, super_send_event};
	static const struct display_config screen;
	static struct super super = {.screen = {.cfg = &screen}};
	static int line[2];
	struct err e;
	json_t *args = json_loads(s, 0, NULL);

	if (!super.loop) {
		super.loop = loop;
		super.keys.up_timer.fire = super_keys_fire;
		assert(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, line));
		super.vmm.child.control = line[0];
	}
	for (size_t i = 0; i < ARRAY_LEN(commands_of); i++) {
		json_t *r = commands_of[i](&super, args, &e);
		unsigned n = received(line[1]);

		/* all of a command or nothing, but for keys that send-key had held */
		assert(r || i == 1 || !n);
		assert(n <= 256 + SUPER_KEYS && super.keys.n <= SUPER_KEYS);
		json_decref(r);
	}
	super_keys_fire(&super.keys.up_timer);
	assert(!super.keys.n);
	received(line[1]);
	json_decref(args);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sandbox_report r = {.stage = {{.code = 0}}};
	char *text;

	if (!loop)
		begin();
	if (!size)
		return 0;
	text = strndup((const char *)data + 1, size - 1);
	assert(text);
	switch (data[0] % 6) {
	case 0:
		control(data + 1, size - 1);
		break;
	case 1:
		console(data + 1, size - 1);
		break;
	case 2:
		sandbox_report_parse(&r, text);
		break;
	case 3:
		words(text);
		break;
	case 4:
		devices(text);
		break;
	default:
		input(text);
	}
	free(text);
	return 0;
}
