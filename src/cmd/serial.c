/* SPDX-License-Identifier: MIT */
/*
 * Theory. Output goes through one ring; its position counts bytes since the start, and each out has
 * its own position in it.
 *
 *                   pos of a slow client     pos of stdout        head
 *   ... ------------------|----------------------|-----------------|
 *       <-------------------- HUB_SIZE at most -------------------->
 *
 * Standard output and the file are *patient* outs: when such a one is HUB_HIGH behind we do not
 * read husk-vmm's socket any more, so the guest's UART fills and the guest waits, as with hardware flow
 * control, and no byte is lost. But a terminal that was stopped and forgotten must not hold the VM for
 * ever: an out that took nothing for STALL_NS loses its patience until it has caught up. Outs without
 * patience, as all socket clients are, skip what fell out of the ring, and are told how much that was.
 *
 * A *lossless* hub is for programs that talk through a channel: nothing is dropped, and nothing is shown twice. All outs
 * are patient for ever there, and while there is none nothing is read from husk-vmm, so a process of the guest that writes
 * sleeps until somebody listens. A client begins where the one before it stopped, which may be in the ring (kept).
 *
 * Input has one small queue to husk-vmm. While it is full, nobody is read from: so a file piped into
 * the guest arrives whole, at the pace at which the guest takes it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "cmd/serial.h"
#include "cmd/term.h"

enum {
	HUB_SIZE = 1 << 20, /* a power of two */
	HUB_HIGH = 256 << 10,
	HUB_REPLAY = 64 << 10, /* a new client sees this much of what was before it */
	INPUT_SIZE = 16 << 10,
	CLIENTS = 16,
	LISTENERS = 2,
	CHUNK = 64 << 10,
};
static const uint64_t STALL_NS = UINT64_C(30) * 1000000000;

enum io_kind { IO_NONE, IO_STDIO, IO_FILE, IO_CLIENT };

struct out {
	struct serial *s;
	struct watch w;
	enum io_kind kind;
	bool is_socket;  /* send() instead of write() */
	bool blocking;   /* could not be opened again: ask poll, write little */
	bool no_epoll;   /* a regular file: always ready */
	bool impatient;  /* lost its patience, until it has caught up */
	bool watching;   /* EPOLLOUT is asked for */
	uint64_t pos;
	uint64_t skipped;    /* bytes lost since the last note about it */
	uint64_t dropped;    /* in all */
	uint64_t progress_ns;
	char note[80];
	unsigned note_len, note_off;
};

struct in {
	struct serial *s;
	struct watch w;
	enum io_kind kind;
	bool open, tty, no_epoll;
};

struct listener {
	struct serial *s;
	struct watch w;
};

struct client {
	struct in in;   /* in.w.fd is a dup of out.w.fd: epoll wants one watch per descriptor */
	struct out out;
};

struct serial {
	struct loop *loop;
	struct serial_host host;
	struct watch vm;
	uint32_t vm_events;
	bool vm_open;
	bool lossless;
	uint64_t kept; /* lossless: where the last client stopped */
	uint8_t *ring;
	uint64_t head, input_total, dropped;
	uint8_t input[INPUT_SIZE];
	size_t input_len;
	bool input_full; /* ins are not watched */
	struct in stdin_in;
	struct out stdout_out, file_out;
	struct client clients[CLIENTS];
	struct listener listeners[LISTENERS];
	struct timer stall;
};

static void vm_rewatch(struct serial *s);
static void pump_output(struct serial *s);
static void out_close(struct out *o);
static void in_close(struct in *in);

static struct client *client_of_out(struct out *o)
{
	return CONTAINER_OF(o, struct client, out);
}

static void client_close(struct client *c)
{
	in_close(&c->in);
	if (c->out.kind != IO_NONE) {
		loop_del(c->out.s->loop, &c->out.w);
		close(c->out.w.fd);
		c->out.kind = IO_NONE;
		c->out.s->kept = c->out.pos;
	}
}

/* --- input: ins -> queue -> husk-vmm ----------------------------------------------------------- */

static void in_watch(struct in *in)
{
	int rc;

	if (!in->open || in->no_epoll || in->w.slot)
		return;
	rc = loop_add(in->s->loop, &in->w, EPOLLIN);
	if (rc == -EPERM)
		in->no_epoll = true; /* a regular file or /dev/null */
	else if (rc)
		log_warn("cannot watch an input of the serial line: %s", strerror(-rc));
}

static void in_close(struct in *in)
{
	if (!in->open)
		return;
	loop_del(in->s->loop, &in->w);
	if (in->kind == IO_CLIENT)
		close(in->w.fd);
	in->open = false;
}

static void all_ins(struct serial *s, void (*fn)(struct in *in))
{
	fn(&s->stdin_in);
	for (size_t i = 0; i < CLIENTS; i++)
		fn(&s->clients[i].in);
}

static void in_unwatch(struct in *in)
{
	if (in->open)
		loop_del(in->s->loop, &in->w);
}

static void input_send(struct serial *s)
{
	while (s->input_len && s->vm_open) {
		ssize_t n = send(s->vm.fd, s->input, s->input_len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n <= 0)
			break;
		memmove(s->input, s->input + n, s->input_len - (size_t)n);
		s->input_len -= (size_t)n;
	}
	if (!s->vm_open)
		s->input_len = 0;
	if (s->input_len == INPUT_SIZE && !s->input_full) {
		s->input_full = true;
		all_ins(s, in_unwatch);
	} else if (s->input_len <= INPUT_SIZE / 2 && s->input_full) {
		s->input_full = false;
		all_ins(s, in_watch);
	}
	vm_rewatch(s);
}

/* Reads what there is room for once. False at the end or when there was nothing. */
static bool in_read(struct in *in)
{
	struct serial *s = in->s;
	uint8_t *p = s->input + s->input_len;
	ssize_t n = read(in->w.fd, p, INPUT_SIZE - s->input_len);

	if (n > 0) {
		size_t len = (size_t)n;

		if (in->tty && s->host.typed)
			len = s->host.typed(s->host.arg, p, len);
		s->input_len += len;
		s->input_total += len;
		return true;
	}
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return false;
	/*
	 * The end, or EIO: a terminal that belongs to another foreground job. A socket's client may
	 * have shut down its sending side only, so its out stays.
	 */
	in_close(in);
	return false;
}

/* Moves input on; what epoll cannot watch is read here, as long as husk-vmm takes it. */
static void input_pump(struct serial *s)
{
	struct in *in = &s->stdin_in;

	do {
		input_send(s);
	} while (in->open && in->no_epoll && s->input_len < INPUT_SIZE && !s->input_full &&
		in_read(in));
}

static void in_ready(struct watch *w, uint32_t events)
{
	struct in *in = CONTAINER_OF(w, struct in, w);
	struct serial *s = in->s;

	(void)events;
	if (s->input_len < INPUT_SIZE)
		in_read(in);
	input_pump(s);
}

void serial_type(struct serial *s, const uint8_t *p, size_t n)
{
	n = min_u64(n, INPUT_SIZE - s->input_len);
	memcpy(s->input + s->input_len, p, n);
	s->input_len += n;
	s->input_total += n;
	input_pump(s);
}

/* --- output: husk-vmm -> ring -> outs ---------------------------------------------------------- */

static bool out_patient(const struct out *o)
{
	if (o->s->lossless)
		return o->kind != IO_NONE;
	return (o->kind == IO_STDIO || o->kind == IO_FILE) && !o->impatient;
}

static uint64_t out_room(const struct out *o)
{
	const uint64_t behind = o->s->head - o->pos;

	return !out_patient(o) ? HUB_HIGH : behind < HUB_HIGH ? HUB_HIGH - behind : 0;
}

static unsigned clients(const struct serial *s)
{
	unsigned n = 0;

	for (size_t i = 0; i < CLIENTS; i++)
		n += s->clients[i].out.kind != IO_NONE;
	return n;
}

static uint64_t room(const struct serial *s)
{
	uint64_t most = min_u64(out_room(&s->stdout_out), out_room(&s->file_out));

	for (size_t i = 0; i < CLIENTS; i++)
		most = min_u64(most, out_room(&s->clients[i].out));
	/* a file that broke is told of once, and does not hold anybody */
	return s->lossless && s->listeners[0].w.fd >= 0 && !clients(s) ? 0 : most;
}

static void vm_rewatch(struct serial *s)
{
	uint32_t want = 0;

	if (s->vm_open) {
		if (room(s))
			want |= EPOLLIN;
		if (s->input_len)
			want |= EPOLLOUT;
	}
	if (want == s->vm_events)
		return;
	/* no watch at all rather than an empty one: a hang-up would be reported again and again */
	if (!want)
		loop_del(s->loop, &s->vm);
	else if (!s->vm.slot)
		loop_add(s->loop, &s->vm, want);
	else
		loop_mod(s->loop, &s->vm, want);
	s->vm_events = want;
}

/* What fell out of the ring is gone for o: remember how much, and say so in its stream. */
static void out_skip(struct out *o)
{
	struct serial *s = o->s;
	uint64_t lost;

	if (s->head - o->pos <= HUB_SIZE)
		return;
	/* leave half a ring free, or every further byte would be a loss with a note of its own */
	lost = s->head - HUB_SIZE / 2 - o->pos;
	o->pos += lost;
	o->skipped += lost;
	o->dropped += lost;
	if (o->kind != IO_CLIENT)
		s->dropped += lost;
}

static ssize_t out_write(struct out *o, const void *p, size_t n)
{
	if (o->is_socket)
		return send(o->w.fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (o->blocking) {
		struct pollfd pfd = {.fd = o->w.fd, .events = POLLOUT};

		if (poll(&pfd, 1, 0) <= 0) {
			errno = EAGAIN;
			return -1;
		}
		/* a pipe that polls writable takes PIPE_BUF bytes; a terminal perhaps one only */
		n = min_u64(n, isatty(o->w.fd) ? 1 : 512);
	}
	return write(o->w.fd, p, n);
}

/* Writes what the out takes now. 0, or the errno value for which it must be closed. */
static int out_pump(struct out *o)
{
	struct serial *s = o->s;

	out_skip(o);
	while (o->note_len || o->skipped || o->pos < s->head) {
		const void *p;
		size_t n;
		ssize_t done;

		if (o->skipped && !o->note_len) {
			o->note_len = (unsigned)snprintf(o->note, sizeof o->note,
				"\r\n[husk: %llu bytes of output were lost here]\r\n",
				(unsigned long long)o->skipped);
			o->note_off = 0;
			o->skipped = 0;
		}
		if (o->note_len) {
			p = o->note + o->note_off;
			n = o->note_len - o->note_off;
		} else {
			size_t off = o->pos & (HUB_SIZE - 1);

			p = s->ring + off;
			n = min_u64(min_u64(s->head - o->pos, HUB_SIZE - off), CHUNK);
		}
		done = out_write(o, p, n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && errno == EAGAIN)
			return 0;
		if (done < 0)
			return errno;
		o->progress_ns = now_ns();
		if (!o->note_len) {
			o->pos += (uint64_t)done;
		} else {
			o->note_off += (unsigned)done;
			if (o->note_off == o->note_len)
				o->note_len = 0;
		}
	}
	o->impatient = false;
	return 0;
}

static bool out_pending(const struct out *o)
{
	return o->note_len || o->skipped || o->pos < o->s->head;
}

static void out_update(struct out *o)
{
	bool was_pending = o->watching, pending;
	int rc;

	if (o->kind == IO_NONE)
		return;
	rc = out_pump(o);
	if (rc) {
		enum io_kind kind = o->kind;

		out_close(o);
		if (kind != IO_CLIENT)
			o->s->host.closed(o->s->host.arg, rc);
		return;
	}
	pending = out_pending(o);
	if (pending && !was_pending)
		o->progress_ns = now_ns();
	if (pending == was_pending)
		return;
	o->watching = pending;
	if (o->kind == IO_CLIENT)
		loop_mod(o->s->loop, &o->w, pending ? EPOLLOUT : 0);
	else if (o->no_epoll)
		return;
	else if (pending)
		loop_add(o->s->loop, &o->w, EPOLLOUT);
	else
		loop_del(o->s->loop, &o->w);
	if (pending && o->kind != IO_CLIENT && !o->s->stall.deadline_ns)
		timer_set(o->s->loop, &o->s->stall, now_ns() + STALL_NS);
}

static void out_close(struct out *o)
{
	if (o->kind == IO_CLIENT) {
		client_close(client_of_out(o));
		return;
	}
	loop_del(o->s->loop, &o->w);
	if (o->w.fd != 1)
		close(o->w.fd);
	o->kind = IO_NONE;
}

static void pump_output(struct serial *s)
{
	out_update(&s->stdout_out);
	out_update(&s->file_out);
	for (size_t i = 0; i < CLIENTS; i++)
		out_update(&s->clients[i].out);
	vm_rewatch(s);
}

static void stall_fire(struct timer *t)
{
	struct serial *s = CONTAINER_OF(t, struct serial, stall);
	struct out *const patient[] = {&s->stdout_out, &s->file_out};
	uint64_t now = now_ns(), next = 0;

	for (size_t i = 0; i < ARRAY_LEN(patient); i++) {
		struct out *o = patient[i];

		if (!out_patient(o) || !out_pending(o))
			continue;
		if (now - o->progress_ns >= STALL_NS)
			o->impatient = true;
		else if (!next || o->progress_ns + STALL_NS < next)
			next = o->progress_ns + STALL_NS;
	}
	timer_set(s->loop, t, next);
	vm_rewatch(s);
}

/* Reads at most n bytes of output into the ring; how many, 0 at the end, -EAGAIN if there are none. */
static ssize_t vm_read(struct serial *s, uint64_t n)
{
	size_t off = s->head & (HUB_SIZE - 1);
	ssize_t got;

	n = min_u64(min_u64(n, CHUNK), HUB_SIZE - off);
	got = recv(s->vm.fd, s->ring + off, n, MSG_DONTWAIT);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : 0;
	if (s->host.output && got)
		s->host.output(s->host.arg, s->ring + off, (size_t)got);
	s->head += (uint64_t)got;
	return got;
}

static void vm_gone(struct serial *s)
{
	s->vm_open = false;
	input_send(s); /* throws away what was meant for it */
}

static void vm_ready(struct watch *w, uint32_t events)
{
	struct serial *s = CONTAINER_OF(w, struct serial, vm);

	if (events & EPOLLOUT)
		input_pump(s);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && s->vm_open) {
		uint64_t n = room(s);

		if (n && !vm_read(s, n))
			vm_gone(s);
	}
	pump_output(s);
}

void serial_drain(struct serial *s)
{
	/* what a socket can hold; a husk-vmm that never stops writing must not keep us here */
	for (uint64_t most = HUB_SIZE / 2; s->vm_open && most;) {
		ssize_t n = vm_read(s, most);

		if (n == -EAGAIN)
			break;
		if (!n)
			vm_gone(s);
		most -= (uint64_t)n;
	}
	pump_output(s);
}

void serial_flush(struct serial *s, int fd, bool (*give_up)(void *arg), void *arg)
{
	uint64_t client_end = now_ns() + 1000000000;
	bool stopped = false;

	pump_output(s);
	for (;;) {
		struct pollfd p[3 + CLIENTS];
		unsigned n = 0;
		bool patient = false;

		for (int i = 0; i < 2 && !stopped; i++) {
			struct out *o = i ? &s->file_out : &s->stdout_out;

			if (o->kind == IO_NONE || !out_pending(o))
				continue;
			p[n++] = (struct pollfd){.fd = o->w.fd, .events = POLLOUT};
			patient = true;
		}
		for (size_t i = 0; i < CLIENTS && now_ns() < client_end; i++)
			if (s->clients[i].out.kind != IO_NONE && out_pending(&s->clients[i].out))
				p[n++] = (struct pollfd){.fd = s->clients[i].out.w.fd, .events = POLLOUT};
		if (!n)
			return;
		p[n] = (struct pollfd){.fd = fd, .events = POLLIN};
		if (poll(p, n + 1, patient && now_ns() >= client_end ? -1 : 200) < 0 && errno != EINTR)
			return;
		stopped |= p[n].revents && give_up(arg);
		pump_output(s);
	}
}

/* --- making it --------------------------------------------------------------------------------- */

struct serial *serial_new(struct loop *l, int vm_fd, const struct serial_host *h, struct err *e)
{
	struct serial *s = xcalloc(1, sizeof *s);
	int rc;

	s->loop = l;
	s->host = *h;
	s->ring = xcalloc(1, HUB_SIZE);
	s->stall.fire = stall_fire;
	s->vm = (struct watch){.fd = vm_fd, .ready = vm_ready};
	s->vm_open = true;
	s->stdin_in.s = s->stdout_out.s = s->file_out.s = s;
	for (size_t i = 0; i < CLIENTS; i++)
		s->clients[i].in.s = s->clients[i].out.s = s;
	for (size_t i = 0; i < LISTENERS; i++)
		s->listeners[i].w.fd = -1;
	rc = loop_add(l, &s->vm, EPOLLIN);
	if (rc) {
		err_set(e, -rc, "cannot watch the serial line: %s", strerror(-rc));
		serial_free(s);
		return NULL;
	}
	s->vm_events = EPOLLIN;
	return s;
}

void serial_lossless(struct serial *s)
{
	s->lossless = true;
}

void serial_free(struct serial *s)
{
	if (!s)
		return;
	timer_set(s->loop, &s->stall, 0);
	in_close(&s->stdin_in);
	if (s->stdout_out.kind != IO_NONE)
		out_close(&s->stdout_out);
	if (s->file_out.kind != IO_NONE)
		out_close(&s->file_out);
	for (size_t i = 0; i < CLIENTS; i++)
		client_close(&s->clients[i]);
	for (size_t i = 0; i < LISTENERS; i++)
		if (s->listeners[i].w.fd >= 0) {
			loop_del(s->loop, &s->listeners[i].w);
			close(s->listeners[i].w.fd);
		}
	loop_del(s->loop, &s->vm);
	close(s->vm.fd);
	free(s->ring);
	free(s);
}

static void out_ready(struct watch *w, uint32_t events)
{
	struct out *o = CONTAINER_OF(w, struct out, w);
	struct serial *s = o->s;

	if (o->kind == IO_CLIENT && events & (EPOLLHUP | EPOLLERR))
		out_close(o);
	else
		out_update(o);
	vm_rewatch(s);
}

static int add_patient(struct serial *s, struct out *o, enum io_kind kind, int fd, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st))
		return err_set(e, errno, "the output of the serial line is not open");
	o->kind = kind;
	o->w = (struct watch){.fd = fd, .ready = out_ready};
	o->is_socket = S_ISSOCK(st.st_mode);
	o->no_epoll = S_ISREG(st.st_mode) || S_ISBLK(st.st_mode);
	if (!o->no_epoll && !o->is_socket && !(fcntl(fd, F_GETFL) & O_NONBLOCK)) {
		int own = fd_reopen(fd, O_WRONLY);
		int rc;

		if (own >= 0)
			o->w.fd = own;
		o->blocking = own < 0;
		/* /dev/null and others of its kind do not poll, and never block */
		rc = loop_add(s->loop, &o->w, 0);
		if (rc == -EPERM)
			o->no_epoll = true;
		loop_del(s->loop, &o->w);
	}
	o->pos = s->head > HUB_REPLAY ? s->head - HUB_REPLAY : 0;
	o->progress_ns = now_ns();
	return 0;
}

int serial_add_stdout(struct serial *s, struct err *e)
{
	return add_patient(s, &s->stdout_out, IO_STDIO, 1, e);
}

int serial_add_file(struct serial *s, int fd, struct err *e)
{
	return add_patient(s, &s->file_out, IO_FILE, fd, e);
}

int serial_add_stdin(struct serial *s, bool tty, struct err *e)
{
	struct in *in = &s->stdin_in;

	if (in->open)
		return 0;
	if (fcntl(0, F_GETFD) < 0)
		return err_set(e, EBADF, "standard input is not open");
	in->w = (struct watch){.fd = 0, .ready = in_ready};
	in->kind = IO_STDIO;
	in->tty = tty;
	in->no_epoll = false;
	in->open = true;
	if (!s->input_full)
		in_watch(in);
	if (in->no_epoll)
		input_pump(s);
	return 0;
}

void serial_del_stdin(struct serial *s)
{
	in_close(&s->stdin_in);
}

static void listener_ready(struct watch *w, uint32_t events)
{
	struct listener *l = CONTAINER_OF(w, struct listener, w);
	struct serial *s = l->s;
	struct client *c = NULL;
	int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), in;

	(void)events;
	if (fd < 0)
		return;
	for (size_t i = 0; i < CLIENTS && !c; i++)
		if (s->clients[i].out.kind == IO_NONE)
			c = &s->clients[i];
	in = c ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
	if (in < 0) {
		static const char full[] = "husk: too many clients on this serial line\r\n";

		if (send(fd, full, sizeof full - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
			/* it learns from the end of the stream */
		}
		close(fd);
		return;
	}
	memset(c, 0, sizeof *c);
	c->in.s = c->out.s = s;
	c->out.kind = c->in.kind = IO_CLIENT;
	c->out.is_socket = true;
	c->out.w = (struct watch){.fd = fd, .ready = out_ready};
	if (s->lossless)
		c->out.pos = clients(s) > 1 ? s->head : s->kept;
	else
		c->out.pos = s->head > HUB_REPLAY ? s->head - HUB_REPLAY : 0;
	c->in.w = (struct watch){.fd = in, .ready = in_ready};
	c->in.open = true;
	if (loop_add(s->loop, &c->out.w, 0)) {
		client_close(c);
		return;
	}
	if (!s->input_full)
		in_watch(&c->in);
	out_update(&c->out);
	vm_rewatch(s);
}

int serial_add_listener(struct serial *s, int fd, struct err *e)
{
	for (size_t i = 0; i < LISTENERS; i++) {
		struct listener *l = &s->listeners[i];
		int rc;

		if (l->w.fd >= 0)
			continue;
		l->s = s;
		l->w = (struct watch){.fd = fd, .ready = listener_ready};
		rc = loop_add(s->loop, &l->w, EPOLLIN);
		vm_rewatch(s); /* it may have to wait for clients now */
		if (!rc)
			return 0;
		l->w.fd = -1;
		close(fd);
		return err_set(e, -rc, "cannot watch a socket: %s", strerror(-rc));
	}
	close(fd);
	return err_set(e, ENOSPC, "too many serial sockets");
}

void serial_stats(const struct serial *s, struct serial_stats *st)
{
	*st = (struct serial_stats){.output = s->head, .input = s->input_total, .dropped = s->dropped, .clients = clients(s)};
}
