/* SPDX-License-Identifier: MIT */
/* The serial hub and the control socket on socketpairs: what arrives, what waits, what is dropped. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "cmd/qmp.h"
#include "cmd/serial.h"

static struct loop *loop;
static int closed_code;
static uint64_t heard;

static void tick_fire(struct timer *t)
{
	(void)t;
	loop_stop(loop);
}

/* Lets the loop run for a while. */
static void spin(unsigned ms)
{
	static struct timer t = {.fire = tick_fire};

	timer_set(loop, &t, now_ns() + ms * UINT64_C(1000000));
	assert(!loop_run(loop));
}

static void host_output(void *arg, const uint8_t *p, size_t n)
{
	(void)arg, (void)p;
	heard += n;
}

static void host_closed(void *arg, int code)
{
	(void)arg;
	closed_code = code;
}

static const struct serial_host host = {.output = host_output, .closed = host_closed};

static void nonblock(int fd)
{
	assert(!fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK));
}

static struct serial *hub(int *vm)
{
	int p[2];
	struct err e;
	struct serial *s;

	assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p));
	nonblock(p[0]);
	nonblock(p[1]);
	s = serial_new(loop, p[0], &host, &e);
	assert(s);
	*vm = p[1];
	heard = 0;
	closed_code = 0;
	return s;
}

static uint8_t pattern(uint64_t i)
{
	return (uint8_t)(i * 7 + i / 251);
}

/* Writes bytes of the pattern from position at until the socket is full or most; the new position. */
static uint64_t write_pattern(int fd, uint64_t at, uint64_t most)
{
	uint8_t buf[4096];

	while (at < most) {
		size_t n = min_u64(sizeof buf, most - at);
		ssize_t done;

		for (size_t i = 0; i < n; i++)
			buf[i] = pattern(at + i);
		done = write(fd, buf, n);
		if (done < 0)
			break;
		at += (uint64_t)done;
	}
	return at;
}

static int listener(char *path, size_t len)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(path, len, "/tmp/husk-hub-%d", (int)getpid());
	unlink(path);
	strcpy(a.sun_path, path);
	assert(fd >= 0 && !bind(fd, (struct sockaddr *)&a, sizeof a) && !listen(fd, 64));
	return fd;
}

static int dial(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path, path);
	assert(fd >= 0 && !connect(fd, (struct sockaddr *)&a, sizeof a));
	return fd;
}

/* A patient out that does not read: the guest must be held back, and nothing may be lost. */
static void test_flow_control(void)
{
	int vm, out[2], saved = dup(1);
	struct serial *s = hub(&vm);
	struct serial_stats st;
	uint64_t written = 0, got = 0;
	const uint64_t total = 5000000;
	struct err e;

	assert(!pipe2(out, O_CLOEXEC));
	assert(dup2(out[1], 1) == 1);
	close(out[1]);
	assert(!serial_add_stdout(s, &e));
	for (int i = 0; i < 20; i++) {
		written = write_pattern(vm, written, total);
		spin(5);
	}
	/* the ring's mark, the pipe and the socket's buffers, and no more */
	assert(written > 100000 && written < 1500000);
	serial_stats(s, &st);
	assert(!st.dropped && st.output == heard && heard <= (256 << 10) + (64 << 10) + 65536);
	/* now it reads: every byte arrives, in order */
	nonblock(out[0]);
	while (got < total) {
		uint8_t buf[65536];
		ssize_t n = read(out[0], buf, sizeof buf);

		for (ssize_t i = 0; i < n; i++)
			assert(buf[i] == pattern(got + (uint64_t)i));
		got += n > 0 ? (uint64_t)n : 0;
		written = write_pattern(vm, written, total);
		spin(1);
	}
	/* its reader goes away: the owner is told, the hub goes on */
	close(out[0]);
	write_pattern(vm, 0, 100);
	spin(20);
	assert(closed_code == EPIPE);
	assert(dup2(saved, 1) == 1);
	close(saved);
	serial_free(s);
	close(vm);
}

/* What the hub has for fd, without the hub's doing more; it must go on with the pattern at position at. */
static uint64_t take(int fd, uint64_t at)
{
	uint8_t buf[65536];
	ssize_t n;

	while ((n = recv(fd, buf, sizeof buf, MSG_DONTWAIT)) > 0)
		for (ssize_t i = 0; i < n; i++)
			assert(buf[i] == pattern(at++));
	return at;
}

/* A channel: nobody there, somebody slow, somebody who goes; each byte arrives once. */
static void test_lossless(void)
{
	char path[64];
	int vm, a, b, l = listener(path, sizeof path);
	struct serial *s = hub(&vm);
	uint64_t written, got, a_got;
	const uint64_t total = 5000000;
	struct err e;

	serial_lossless(s);
	assert(!serial_add_listener(s, l, &e));
	written = write_pattern(vm, 0, total);
	spin(10);
	assert(written < 1000000 && !heard);
	/* one who does not read */
	a = dial(path);
	for (int i = 0; i < 20; i++) {
		written = write_pattern(vm, written, total);
		spin(5);
	}
	assert(heard > 256 << 10 && heard < 1500000 && written < 2000000);
	/* and goes, with what it had got: the next begins there */
	got = take(a, 0);
	assert(got > 10000);
	close(a);
	spin(10);
	b = dial(path);
	spin(10);
	got = take(b, got);
	/* another one, with nothing twice for either: the slower sets the pace */
	spin(10);
	got = take(b, got);
	while (got < heard) {
		spin(1);
		got = take(b, got);
	}
	a = dial(path);
	spin(10);
	a_got = heard;
	got = take(b, got);
	while (got < total) {
		const uint64_t before = got;

		written = write_pattern(vm, written, total);
		spin(1);
		got = take(b, got);
		assert(got - a_got < 1000000);
		if (got == before) /* which is when the other has to read */
			a_got = take(a, a_got);
	}
	while (a_got < total) {
		spin(1);
		a_got = take(a, a_got);
	}
	/* nobody again: no replay for the next */
	close(a);
	close(b);
	spin(10);
	write_pattern(vm, total, total + 100);
	spin(10);
	assert(heard == total);
	a = dial(path);
	spin(10);
	assert(take(a, total) == total + 100);
	close(a);
	close(vm);
	serial_free(s);
	unlink(path);
}

/* Clients: replay, output to all, input from all, and one that does not read holds nobody back. */
static void test_clients(void)
{
	char path[64], buf[200000];
	int vm, a, b, c, many[20], l = listener(path, sizeof path);
	struct serial *s = hub(&vm);
	struct serial_stats st;
	uint64_t written = 0;
	struct err e;
	size_t n;
	ssize_t k;

	assert(!serial_add_listener(s, l, &e));
	assert(write(vm, "before", 6) == 6);
	spin(10);
	a = dial(path);
	b = dial(path);
	c = dial(path);
	spin(10);
	assert(recv(a, buf, 100, MSG_DONTWAIT) == 6 && !memcmp(buf, "before", 6));
	assert(recv(b, buf, 100, MSG_DONTWAIT) == 6);
	assert(write(vm, "hello", 5) == 5);
	spin(10);
	assert(recv(a, buf, 100, MSG_DONTWAIT) == 5 && recv(b, buf, 100, MSG_DONTWAIT) == 5);
	assert(write(a, "from a", 6) == 6);
	spin(10);
	assert(read(vm, buf, 100) == 6 && !memcmp(buf, "from a", 6));
	serial_type(s, (const uint8_t *)"typed", 5);
	spin(5);
	assert(read(vm, buf, 100) == 5);
	/* half-closed: it still sees output; b is gone altogether */
	shutdown(a, SHUT_WR);
	close(b);
	spin(10);
	serial_stats(s, &st);
	assert(st.clients == 2);
	/* nobody reads: the guest is not held back, and a is told what it missed */
	while (written < 8000000) {
		written = write_pattern(vm, written, 8000000);
		spin(1);
	}
	n = 0;
	while ((k = recv(a, buf, sizeof buf - 1, MSG_DONTWAIT)) > 0) {
		buf[k] = 0;
		n += memmem(buf, (size_t)k, "bytes of output were lost here", 30) != NULL;
		spin(2);
	}
	assert(n >= 1);
	/* bounded: more than the limit are told so and leave the others alone */
	for (size_t i = 0; i < ARRAY_LEN(many); i++)
		many[i] = dial(path);
	spin(20);
	serial_stats(s, &st);
	assert(st.clients == 16);
	for (size_t i = 0; i < ARRAY_LEN(many); i++)
		close(many[i]);
	close(a);
	close(c);
	spin(20);
	serial_stats(s, &st);
	assert(st.clients == 0);
	/* much input against a guest that does not read it: bounded, and later all there, in order */
	a = dial(path);
	nonblock(a);
	written = 0;
	for (int i = 0; i < 50; i++) {
		written = write_pattern(a, written, 3000000);
		spin(1);
	}
	assert(written < 1500000);
	for (uint64_t got = 0; got < 3000000;) {
		k = read(vm, buf, sizeof buf);
		for (ssize_t i = 0; i < k; i++)
			assert((uint8_t)buf[i] == pattern(got + (uint64_t)i));
		got += k > 0 ? (uint64_t)k : 0;
		written = write_pattern(a, written, 3000000);
		spin(1);
	}
	close(a);
	/* the guest goes: what it wrote last is still shown */
	a = dial(path);
	spin(10);
	while (recv(a, buf, sizeof buf, MSG_DONTWAIT) > 0)
		spin(1);
	assert(write(vm, "last words", 10) == 10);
	close(vm);
	serial_drain(s);
	serial_flush(s, -1, NULL, NULL);
	assert(recv(a, buf, sizeof buf, MSG_DONTWAIT) == 10 && !memcmp(buf, "last words", 10));
	serial_type(s, (const uint8_t *)"x", 1); /* harmless */
	close(a);
	serial_free(s);
	unlink(path);
}

/* --serial file:, and a regular file on standard input, which epoll does not take */
static void test_files(void)
{
	char name[] = "/tmp/husk-hub-file-XXXXXX", in_name[] = "/tmp/husk-hub-in-XXXXXX", buf[65536];
	int vm, fd = mkstemp(name), in = mkstemp(in_name), saved = dup(0);
	struct serial *s = hub(&vm);
	struct stat st;
	uint64_t got = 0;
	struct err e;

	unlink(name);
	unlink(in_name);
	assert(fd >= 0 && in >= 0);
	assert(write_pattern(in, 0, 500000) == 500000 && lseek(in, 0, SEEK_SET) == 0);
	assert(dup2(in, 0) == 0);
	assert(!serial_add_file(s, dup(fd), &e) && !serial_add_stdin(s, false, &e));
	while (got < 500000) {
		ssize_t n = read(vm, buf, sizeof buf);

		for (ssize_t i = 0; i < n; i++)
			assert((uint8_t)buf[i] == pattern(got + (uint64_t)i));
		got += n > 0 ? (uint64_t)n : 0;
		spin(1);
	}
	assert(write_pattern(vm, 0, 100000) == 100000);
	spin(20);
	assert(!fstat(fd, &st) && st.st_size == 100000);
	assert(dup2(saved, 0) == 0);
	serial_free(s);
	close(vm);
	close(fd);
	close(in);
	close(saved);
}

/* --- control socket ---------------------------------------------------------------------------- */

static json_t *cmd_echo(void *arg, json_t *args, struct err *e)
{
	(void)arg, (void)e;
	return args ? json_incref(args) : json_object();
}

static json_t *cmd_fail(void *arg, json_t *args, struct err *e)
{
	(void)arg, (void)args;
	err_set(e, EINVAL, "no \xff such thing");
	return NULL;
}

static json_t *cmd_later(void *arg, json_t *args, struct err *e)
{
	(void)arg, (void)args, (void)e;
	return QMP_LATER;
}

static json_t *cmd_big(void *arg, json_t *args, struct err *e)
{
	char text[60000];

	(void)arg, (void)args, (void)e;
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = 0;
	return json_pack("{s:s}", "text", text);
}

static const struct qmp_command commands[] = {{"echo", cmd_echo}, {"fail", cmd_fail},
	{"later", cmd_later}, {"big", cmd_big}, {NULL, NULL}};

static void say(int fd, const char *text)
{
	assert(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
	spin(5);
}

/* What came since the last call, as text; "" if nothing did, "<end>" at the end. */
static const char *hear(int fd)
{
	static char buf[1 << 20];
	ssize_t n = recv(fd, buf, sizeof buf - 1, MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return "<end>";
	buf[n < 0 ? 0 : n] = 0;
	return buf;
}

static void expect(int fd, const char *words)
{
	const char *got = hear(fd);

	if (!strstr(got, words)) {
		fprintf(stderr, "expected %s, got %s\n", words, got);
		exit(1);
	}
}

static void test_control(void)
{
	char path[64], big[QMP_MESSAGE_MAX + 1000];
	int l = listener(path, sizeof path), a, b, many[20];
	struct err e;
	struct qmp *q = qmp_new(loop, l, commands, NULL, &e);

	assert(q);
	a = dial(path);
	spin(5);
	expect(a, "{\"QMP\":{\"version\":");
	say(a, "{\"execute\":\"echo\"}");
	expect(a, "\"class\":\"CommandNotFound\"");
	say(a, "{\"execute\":\"qmp_capabilities\",\"id\":7}\n");
	expect(a, "{\"return\":{},\"id\":7}\r\n");
	say(a, "{\"execute\":\"echo\",\"arguments\":{\"x\":[1,\"}\"]},\"id\":{\"a\":1}}");
	expect(a, "{\"return\":{\"x\":[1,\"}\"]},\"id\":{\"a\":1}}\r\n");
	say(a, "{\"execute\":\"ec");
	assert(!strcmp(hear(a), ""));
	say(a, "ho\"}{\"execute\":\"echo\",\"id\":2}");
	expect(a, "{\"return\":{}}\r\n{\"return\":{},\"id\":2}\r\n");
	say(a, "{\"execute\":\"nonsense\"}");
	expect(a, "the command nonsense has not been found");
	say(a, "{\"execute\":\"fail\"}");
	expect(a, "\"error\":{\"class\":\"GenericError\"");
	say(a, "{\"execute\":3}{}{\"execute\":\"echo\",\"arguments\":[]}{,}");
	expect(a, "}\r\n{\"error\"");
	say(a, "{\"execute\":\"query-commands\"}");
	expect(a, "{\"name\":\"later\"}");
	/* a command that is answered later holds back what follows it, and only on its connection */
	b = dial(path);
	say(a, "{\"execute\":\"later\",\"id\":\"L\"}{\"execute\":\"echo\",\"id\":\"E\"}");
	assert(!strcmp(hear(a), ""));
	say(b, "{\"execute\":\"qmp_capabilities\"}");
	expect(b, "\"return\":{}");
	qmp_answer(q, "echo", json_pack("{s:i}", "n", 4), NULL); /* nobody waits for that */
	qmp_answer(q, "later", json_pack("{s:i}", "n", 5), NULL);
	expect(a, "{\"return\":{\"n\":5},\"id\":\"L\"}\r\n{\"return\":{},\"id\":\"E\"}\r\n");
	/* events go to those who negotiated */
	qmp_event(q, "SHUTDOWN", json_pack("{s:b}", "guest", 1));
	expect(a, "\"event\":\"SHUTDOWN\"");
	expect(b, "\"data\":{\"guest\":true}");
	/* waiting clients get errors too */
	say(a, "{\"execute\":\"later\"}");
	err_set(&e, EIO, "it broke");
	qmp_answer(q, "later", NULL, &e);
	expect(a, "\"desc\":\"it broke\"");
	/* one that asks and does not read is not read from any more: bounded, and all answers come later */
	for (int i = 0; i < 100; i++)
		assert(send(b, "{\"execute\":\"big\"}", 17, MSG_DONTWAIT) == 17);
	spin(20);
	for (size_t got = 0; got < 100;) {
		const char *t = hear(b);

		assert(strcmp(t, "<end>"));
		for (t = strstr(t, "\"}}\r\n"); t; t = strstr(t + 1, "\"}}\r\n"))
			got++;
		spin(1);
	}
	/* but one that does not even read events is disconnected */
	for (int i = 0; i < 60; i++) {
		memset(big, 'y', 50000);
		big[50000] = 0;
		qmp_event(q, "X", json_pack("{s:s}", "t", big));
		hear(a);
	}
	spin(5);
	/* (not a, which reads) */
	while (*hear(a))
		spin(1);
	say(a, "{\"execute\":\"echo\"}");
	expect(a, "{\"return\":{}}");
	close(b);
	/* garbage and what is too long end the connection, with a word */
	b = dial(path);
	spin(5);
	hear(b);
	say(b, "GET / HTTP/1.0\r\n\r\n");
	expect(b, "this is no JSON object");
	spin(5);
	expect(b, "<end>");
	close(b);
	b = dial(path);
	spin(5);
	hear(b);
	memset(big, ' ', sizeof big - 1);
	big[0] = '{';
	big[sizeof big - 1] = 0;
	say(b, big);
	spin(5);
	expect(b, "too long");
	spin(5);
	expect(b, "<end>");
	close(b);
	/* echo ... | nc -N: what was asked before the end is answered */
	b = dial(path);
	spin(5);
	hear(b);
	say(b, "{\"execute\":\"qmp_capabilities\"}");
	hear(b);
	assert(send(b, "{\"execute\":\"echo\",\"id\":9}", 25, 0) == 25);
	shutdown(b, SHUT_WR);
	spin(10);
	expect(b, "\"id\":9");
	expect(b, "<end>");
	close(b);
	for (size_t i = 0; i < ARRAY_LEN(many); i++)
		many[i] = dial(path);
	spin(10);
	expect(many[ARRAY_LEN(many) - 1], "too many clients");
	for (size_t i = 0; i < ARRAY_LEN(many); i++)
		close(many[i]);
	spin(10);
	b = dial(path);
	spin(5);
	expect(b, "QMP");
	/* ended with a command open: no leak (ASan looks) */
	say(b, "{\"execute\":\"qmp_capabilities\"}{\"execute\":\"later\",\"id\":1}");
	qmp_flush(q);
	qmp_free(q);
	close(a);
	close(b);
	unlink(path);
}

int main(void)
{
	log_init("hub", LOG_ERR);
	signal(SIGPIPE, SIG_IGN);
	loop = loop_new();
	assert(loop);
	test_flow_control();
	test_lossless();
	test_clients();
	test_files();
	test_control();
	loop_free(loop);
	return 0;
}
