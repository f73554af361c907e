/* SPDX-License-Identifier: MIT */
/*
 * A device process is replaceable. What must outlive it is elsewhere: rings, eventfds and the record of what is in flight
 * with husk-vmm; the image, the overlay, the tap interface with us. So when one dies another is started with a new
 * vhost-user line, whose other end goes to husk-vmm (VMM_NEW_DEVICE), and it goes on where the first stopped.
 *
 *   devs_start -> ready? -> SERVING --dies--> restart_after() --now or soon--> RESTARTING --ready--> SERVING
 *                                                  |                                  (socket to husk-vmm)
 *                                                  +--never--> a disk: FAILING, husk-blk --fail answers
 *                                                              every request with an error
 *                                                  else, or when that dies, too: GIVEN_UP
 *
 * The image is opened once, with the user's rights; every process gets an open file description of its own, by way of
 * /proc/self/fd: the lock on the image belongs to the description, and it is free only when the kernel has finished with
 * what a killed process had under way. So the lock keeps a new process from overtaking writes of the old one.
 *
 * husk-vmm tells when the line to a process has ended (VMM_DEVICE). Mostly the process is dead, which its pidfd tells as well.
 * If it is not, it hangs or talks nonsense, and is killed; a moment later, since death takes a moment. After a new line was
 * sent, word about the old one may still come: until husk-vmm has said that it is up, the patience is longer.
 *
 * Foreign back-ends have no process here: when they hang up we connect again until they are back. husk-vnc has no line to husk-vmm
 * and no number there, so it comes last; what it needs is screen_fds.h's. What differs from kind to kind is in devs_kinds.c.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "cmd/devs-int.h"

static const uint64_t READY_NS = UINT64_C(30000000000), /* for a start: --restart may wait for the lock */
	DOWN_NS = 200000000, DOWN_EARLY_NS = UINT64_C(3000000000), /* how long it may live on when husk-vmm lost it */
	EXIT_NS = 50000000, /* it ended in order: perhaps husk-vmm is about to do so */
	CONNECT_NS = 200000000, STOP_NS = UINT64_C(2000000000);

static void dev_died(struct dev *d, int status);

static void event(const struct dev *d, enum dev_event ev)
{
	d->all->host.event(d->all->host.arg, d, ev);
}

const char *dev_state_name(enum dev_state s)
{
	static const char *const names[] = {"starting", "serving", "restarting", "failing", "given up"};

	return names[s];
}

/* --- one process ------------------------------------------------------------------------------- */

/* Starts the process; it is not ready yet. d->front is husk-vmm's end of the line, where there is one. */
static int spawn(struct dev *d, bool restart, struct err *e)
{
	struct child_args a = {.n = 0};
	int pair[2] = {-1, -1}, own = -1, rc;

	if (d->kind->word) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
			return err_set(e, errno, "cannot make a socket: %s", strerror(errno));
		child_arg_fd(&a, "--socket-fd", pair[1]);
	}
	rc = d->kind->args(d, &a, restart, &own, e);
	if (d->all->cfg.debug)
		child_arg_text(&a, "--debug", d->all->cfg.debug);
	rc = rc ? rc : child_start(&d->child, d->program, d->path, &a, e);
	if (pair[1] >= 0)
		close(pair[1]);
	if (own >= 0)
		close(own);
	if (rc) {
		if (pair[0] >= 0)
			close(pair[0]);
		return rc;
	}
	d->pid = d->child.pid;
	d->front = pair[0];
	d->ready_ns = 0;
	d->killed = false;
	d->why[0] = 0;
	return 0;
}

static void front_close(struct dev *d)
{
	if (d->front >= 0)
		close(d->front);
	d->front = -1;
}

static void unwatch(struct dev *d)
{
	loop_del(d->all->loop, &d->pid_w);
	loop_del(d->all->loop, &d->control_w);
	loop_del(d->all->loop, &d->log_w);
}

static void kill_it(struct dev *d, const char *why)
{
	if (!d->child.pid || d->killed)
		return;
	d->killed = true;
	snprintf(d->why, sizeof d->why, "%s", why);
	kill(d->child.pid, SIGKILL);
}

/* --- what it says ------------------------------------------------------------------------------ */

static void ready_line(struct dev *d, const char *key, const char *value)
{
	if (!strcmp(key, "engine"))
		snprintf(d->engine, sizeof d->engine, "%.31s", value);
	else if (!strcmp(key, "engine-why"))
		snprintf(d->engine_why, sizeof d->engine_why, "%.199s", value);
	else if (!strcmp(key, "sandbox") && !sandbox_report_parse(&d->sandbox, value))
		d->sandbox_known = true;
}

static void ready_text(struct dev *d, char *text)
{
	char *save = NULL;

	child_clean(text, true);
	child_sandbox_init(&d->sandbox);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *eq = strchr(line, '=');

		if (!eq)
			continue;
		*eq = 0;
		ready_line(d, line, eq + 1);
	}
}

static void stats_part(struct dev *d, const struct vmm_msg *m)
{
	struct devs *all = d->all;
	size_t n = min_u64(m->len, DEV_STATS_MAX - d->stats_len);

	if (!d->asked || m->arg2 != all->ask_id)
		return;
	memcpy(d->stats + d->stats_len, m->text, n);
	d->stats_len += n;
	d->stats[d->stats_len] = 0;
	if (m->arg)
		return;
	d->asked = false;
	if (!--all->asked)
		all->host.answered(all->host.arg);
}

/* It will not answer any more. */
static void stats_none(struct dev *d)
{
	if (!d->asked)
		return;
	d->asked = false;
	if (!--d->all->asked)
		d->all->host.answered(d->all->host.arg);
}

static void message(struct dev *d, const struct vmm_msg *m, char *text)
{
	switch (m->type) {
	case VMM_READY:
		if (!d->ready_ns)
			ready_text(d, text);
		d->ready_ns = now_ns();
		break;
	case VMM_ERROR:
		child_clean(text, false);
		snprintf(d->why, sizeof d->why, "%.*s", (int)sizeof d->why - 1, text);
		break;
	case VMM_STATS:
		stats_part(d, m);
		break;
	default:
		break;
	}
}

/* All that has come. False at the end of the line. */
static bool control_read(struct dev *d)
{
	char text[VMM_TEXT_MAX + 1];
	struct vmm_msg m;
	int rc;

	/* a process that never stops talking must not keep us here */
	for (int i = 0; i < 100; i++) {
		rc = child_recv(&d->child, &m, text);
		if (rc <= 0)
			return rc == -EAGAIN;
		message(d, &m, text);
	}
	return true;
}

/* --- it is up ---------------------------------------------------------------------------------- */

static void hand_over(struct dev *d)
{
	int rc = d->kind->word ? d->all->host.socket(d->all->host.arg, d->number, d->front) : 0;

	front_close(d);
	timer_set(d->all->loop, &d->limit_timer, 0);
	if (rc) {
		kill_it(d, "husk-vmm cannot be told of it");
		return;
	}
	d->kept_down = true;
	if (d->state == DEV_RESTARTING) {
		d->state = DEV_SERVING;
		event(d, DEV_RESTARTED);
	}
}

static void control_ready(struct watch *w, uint32_t events)
{
	struct dev *d = CONTAINER_OF(w, struct dev, control_w);

	(void)events;
	if (!control_read(d)) {
		/* it is about to end; pid_ready() tells. If not, it is not what we started. */
		loop_del(d->all->loop, w);
		timer_set(d->all->loop, &d->limit_timer, now_ns() + STOP_NS);
		return;
	}
	if (d->ready_ns && (d->kind->word ? d->front >= 0 : d->state == DEV_RESTARTING))
		hand_over(d);
}

static void pid_ready(struct watch *w, uint32_t events)
{
	struct dev *d = CONTAINER_OF(w, struct dev, pid_w);
	int status;

	(void)events;
	control_read(d);
	for (int i = 0; i < 100 && dev_log_read(d); i++)
		;
	unwatch(d);
	timer_set(d->all->loop, &d->limit_timer, 0);
	status = child_reap(&d->child);
	dev_died(d, status);
}

static int watch(struct dev *d)
{
	struct loop *l = d->all->loop;
	int rc;

	d->pid_w = (struct watch){.fd = d->child.pidfd, .ready = pid_ready};
	d->control_w = (struct watch){.fd = d->child.control, .ready = control_ready};
	d->log_w = (struct watch){.fd = d->child.log, .ready = dev_log_ready};
	rc = loop_add(l, &d->pid_w, EPOLLIN);
	rc = rc ? rc : loop_add(l, &d->control_w, EPOLLIN);
	rc = rc ? rc : loop_add(l, &d->log_w, EPOLLIN);
	if (rc)
		unwatch(d);
	return rc;
}

/* --- death, and what comes after it ------------------------------------------------------------ */

/* The next process, watched; -errno with words. */
static int start_again(struct dev *d, struct err *e)
{
	int rc = spawn(d, true, e);

	if (rc)
		return rc;
	rc = watch(d);
	if (rc) {
		child_close(&d->child);
		front_close(d);
		return err_set(e, -rc, "cannot watch %s: %s", d->program, strerror(-rc));
	}
	timer_set(d->all->loop, &d->limit_timer, now_ns() + READY_NS);
	return 0;
}

static void give_up(struct dev *d)
{
	const bool was_failing = d->state == DEV_FAILING;
	struct err e;

	if (d->disk && !was_failing) {
		d->state = DEV_FAILING;
		if (!start_again(d, &e)) {
			dev_say(d, "%s: given up after %u restart%s; the guest gets I/O errors from now on", d->last, d->restarts,
				d->restarts == 1 ? "" : "s");
			event(d, DEV_LOST);
			return;
		}
	}
	d->state = DEV_GIVEN_UP;
	dev_say(d, "%s: given up; %s", d->last, d->kind->word ? "the guest gets no answers from it any more"
		: "no viewer can look at the screen any more");
	event(d, DEV_LOST);
	if (d->kind->word)
		d->all->host.give_up(d->all->host.arg, d->number);
}

/* After a death, or a start that failed, which d->last tells: start again, now or later, or give up. */
static void next(struct dev *d, const struct restart_death *death, uint64_t least_ns)
{
	int64_t wait = d->state == DEV_FAILING ? -1 : restart_after(&d->policy, death);

	if (wait < 0) {
		give_up(d);
		return;
	}
	d->state = DEV_RESTARTING;
	timer_set(d->all->loop, &d->start_timer, now_ns() + max_u64((uint64_t)wait, least_ns));
}

static void start_fire(struct timer *t)
{
	struct dev *d = CONTAINER_OF(t, struct dev, start_timer);
	struct restart_death death = {.own_fault = true};
	struct err e;

	if (d->all->stopping || d->all->host.ending(d->all->host.arg))
		return;
	if (!start_again(d, &e)) {
		d->restarts++;
		dev_say(d, "%s; restarted (%u)", d->last, d->restarts);
		return;
	}
	death.now_ns = now_ns();
	snprintf(d->last, sizeof d->last, "it cannot be started: %.*s", 250, e.text);
	next(d, &death, RESTART_STEP_NS);
}

static void dev_died(struct dev *d, int status)
{
	const bool killed = WIFSIGNALED(status) && (WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGTERM);
	struct restart_death death = {.now_ns = now_ns(), .ready_ns = d->ready_ns, .own_fault = !killed || d->killed};
	char how[80];

	child_close(&d->child);
	front_close(d);
	stats_none(d);
	/* husk-vmm's end ends the devices, too */
	if (d->all->stopping || d->all->host.ending(d->all->host.arg))
		return;
	snprintf(d->last, sizeof d->last, "%s (pid %d) %s%s%s", d->program, (int)d->pid,
		d->killed ? "was killed" : child_status_text(status, how), d->why[0] ? ": " : "", d->why);
	event(d, DEV_DIED);
	next(d, &death, WIFEXITED(status) ? EXIT_NS : 0);
}

static void limit_fire(struct timer *t)
{
	struct dev *d = CONTAINER_OF(t, struct dev, limit_timer);

	kill_it(d, d->ready_ns ? "it hangs, or talks nonsense to husk-vmm" : "it was not ready in time");
}

/* --- foreign back-ends ------------------------------------------------------------------------- */

static void foreign_fire(struct timer *t)
{
	struct dev *d = CONTAINER_OF(t, struct dev, start_timer);
	struct err e;
	int fd;

	if (d->all->stopping || d->all->host.ending(d->all->host.arg))
		return;
	fd = dev_connect(d, &e);
	if (fd >= 0) {
		d->restarts++;
		d->kept_down = true;
		d->all->host.socket(d->all->host.arg, d->number, fd);
		close(fd);
		/* devs_state() tells what comes of it */
		return;
	}
	snprintf(d->last, sizeof d->last, "%.150s; %.230s", d->why, e.text);
	timer_set(d->all->loop, t, now_ns() + CONNECT_NS);
}

static void foreign_state(struct dev *d, unsigned state, const char *why)
{
	if (state == 1) {
		if (d->state == DEV_RESTARTING) {
			d->state = DEV_SERVING;
			dev_say(d, "connected again (%u)", d->restarts);
			event(d, DEV_RESTARTED);
		}
		d->state = DEV_SERVING;
		return;
	}
	snprintf(d->why, sizeof d->why, "%s", *why ? why : "the back-end has hung up");
	memcpy(d->last, d->why, sizeof d->why);
	if (d->state != DEV_RESTARTING) {
		dev_say(d, "%s; trying to connect again", d->why);
		event(d, DEV_DIED);
	}
	d->state = DEV_RESTARTING;
	timer_set(d->all->loop, &d->start_timer, now_ns() + CONNECT_NS);
}

void devs_state(struct devs *all, unsigned number, unsigned state, const char *why)
{
	struct dev *d = number < all->n ? &all->dev[number] : NULL;

	if (!d || !d->kind->word || all->stopping || d->state == DEV_GIVEN_UP)
		return;
	if (!d->program) {
		foreign_state(d, state, why);
		return;
	}
	if (state == 1) {
		d->kept_down = false;
		timer_set(all->loop, &d->limit_timer, 0);
		return;
	}
	if (!d->child.pid || !d->ready_ns)
		return;
	if (state == 2)
		kill_it(d, *why ? why : "it does not fit");
	else if (!d->limit_timer.deadline_ns)
		timer_set(all->loop, &d->limit_timer, now_ns() + (d->kept_down ? DOWN_EARLY_NS : DOWN_NS));
}

/* --- all of them ------------------------------------------------------------------------------- */

unsigned devs_ask(struct devs *all)
{
	all->ask_id++;
	all->asked = 0;
	for (unsigned i = 0; i < all->n; i++) {
		struct dev *d = &all->dev[i];

		d->asked = false;
		if (!d->child.pid || !d->ready_ns)
			continue;
		if (!d->stats)
			d->stats = malloc(DEV_STATS_MAX + 1);
		if (!d->stats || child_send(&d->child, VMM_GET_STATS, all->ask_id))
			continue;
		d->stats_len = 0;
		d->stats[0] = 0;
		d->asked = true;
		all->asked++;
	}
	return all->asked;
}

void devs_explain(const struct devs *all, char *text, size_t len)
{
	for (unsigned i = 0; all && i < all->n; i++) {
		const struct dev *d = &all->dev[i];
		size_t n = strlen(d->name);
		char option[600], rest[VMM_TEXT_MAX + 1];

		if (strncmp(text, d->name, n) || text[n] != ':')
			continue;
		snprintf(rest, sizeof rest, "%s", text + n);
		snprintf(text, len, "%s%s", dev_option(d, option, sizeof option), rest);
		return;
	}
}

/* Its last words. The option comes in front of them, so a path in there is one too many. */
static int own_words(const struct dev *d, struct err *e)
{
	char link[40], path[sizeof d->why];
	ssize_t n = -1;

	if (d->image >= 0) {
		snprintf(link, sizeof link, "/proc/self/fd/%d", d->image);
		n = readlink(link, path, sizeof path);
	}
	if (n > 0 && !strncmp(d->why, path, (size_t)n) && !strncmp(d->why + n, " is ", 4))
		return err_set(e, EINVAL, "it%s", d->why + n);
	return err_set(e, EINVAL, "%s", d->why);
}

static bool interrupted(void)
{
	sigset_t set;

	return !sigpending(&set) && (sigismember(&set, SIGINT) || sigismember(&set, SIGTERM) || sigismember(&set, SIGHUP) ||
		sigismember(&set, SIGQUIT));
}

/* Waits for READY, VMM_ERROR, or its end. */
static int await(struct dev *d, uint64_t deadline, struct err *e)
{
	char how[80];

	while (!d->ready_ns) {
		struct pollfd p = {.fd = d->child.control, .events = POLLIN};
		uint64_t now = now_ns();

		if (now >= deadline)
			return err_set(e, ETIMEDOUT, "%s (pid %d) was not ready in time", d->program, (int)d->child.pid);
		/* signals are blocked, and the loop that would read them does not run yet */
		if (interrupted())
			return err_set(e, EINTR, "stopped by a signal while %s started", d->program);
		if (poll(&p, 1, (int)min_u64((deadline - now) / 1000000 + 1, 100)) <= 0)
			continue;
		if (control_read(d) || d->ready_ns)
			continue;
		if (d->why[0])
			return own_words(d, e);
		/* no word: what it logged goes to the user. A process that has ended already is not hurt by the signal. */
		for (int i = 0; i < 100 && dev_log_read(d); i++)
			;
		p.fd = d->child.pidfd;
		poll(&p, 1, 1000);
		kill(d->child.pid, SIGKILL);
		return err_set(e, EPROTO, "%s %s before it was ready", d->program,
			child_status_text(child_reap(&d->child), how));
	}
	return 0;
}

/* Starts all, then waits for all: they set themselves up at the same time. bad: at whose fault it is */
static int start_all(struct devs *all, struct dev **bad, struct err *e)
{
	uint64_t deadline;
	int rc;

	for (unsigned i = 0; i < all->n; i++) {
		*bad = &all->dev[i];
		rc = (*bad)->program ? spawn(*bad, false, e) : 0;
		if (rc)
			return rc;
	}
	deadline = now_ns() + READY_NS;
	for (unsigned i = 0; i < all->n; i++) {
		*bad = &all->dev[i];
		rc = (*bad)->program ? await(*bad, deadline, e) : 0;
		if (rc)
			return rc;
	}
	return 0;
}

int devs_start(struct devs *all, struct child_args *a, struct err *e)
{
	struct dev *bad = NULL;
	char option[600];

	if (start_all(all, &bad, e))
		return err_prefix(e, "%s", dev_option(bad, option, sizeof option));
	for (unsigned i = 0; i < all->n; i++)
		dev_vhost_arg(&all->dev[i], a);
	return 0;
}

int devs_watch(struct devs *all, struct loop *l, struct err *e)
{
	int rc = 0;

	all->loop = l;
	for (unsigned i = 0; i < all->n && !rc; i++) {
		struct dev *d = &all->dev[i];

		front_close(d);
		d->state = DEV_SERVING;
		d->start_timer.fire = d->program ? start_fire : foreign_fire;
		d->limit_timer.fire = limit_fire;
		d->hidden_timer.fire = dev_log_fire;
		dev_log_tell(d);
		rc = d->program ? watch(d) : 0;
	}
	return rc ? err_set(e, -rc, "cannot watch the device processes: %s", strerror(-rc)) : 0;
}

void devs_stop(struct devs *all)
{
	uint64_t deadline = now_ns() + STOP_NS;

	if (!all)
		return;
	all->stopping = true;
	for (unsigned i = 0; i < all->n; i++) {
		struct dev *d = &all->dev[i];

		if (all->loop) {
			timer_set(all->loop, &d->start_timer, 0);
			timer_set(all->loop, &d->limit_timer, 0);
			timer_set(all->loop, &d->hidden_timer, 0);
		}
		front_close(d);
		if (d->child.pid)
			child_send(&d->child, VMM_QUIT, 0);
	}
	for (unsigned i = 0; i < all->n; i++) {
		struct dev *d = &all->dev[i];
		struct pollfd p = {.fd = d->child.pidfd, .events = POLLIN};
		uint64_t now = now_ns();

		if (!d->child.pid)
			continue;
		while (now < deadline && poll(&p, 1, (int)((deadline - now) / 1000000) + 1) <= 0)
			now = now_ns();
		for (int k = 0; all->loop && d->log_w.slot && k < 100 && dev_log_read(d); k++)
			;
		if (all->loop)
			timer_set(all->loop, &d->hidden_timer, 0);
		dev_log_tell(d);
		if (all->loop)
			unwatch(d);
		child_close(&d->child);
	}
}

void devs_free(struct devs *all)
{
	if (!all)
		return;
	devs_stop(all);
	for (unsigned i = 0; i < all->n; i++)
		dev_close(&all->dev[i]);
	free(all);
}
