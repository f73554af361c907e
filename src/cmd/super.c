/* SPDX-License-Identifier: MIT */
/*
 * One process, one loop. It holds no guest memory; it owns the terminal, the runtime directory, the
 * sockets and husk-vmm, and everything that was changed is put back here, in this order at the end:
 *
 *   husk-vmm is reaped  ->  the last of its output is shown  ->  the terminal is as it was  ->
 *   sockets and runtime directory are gone  ->  one line says how it ended
 *
 * If the supervisor is killed instead, the kernel kills husk-vmm (PR_SET_PDEATHSIG, and the end of
 * the control line) and the guard does the rest.
 *
 * Stopping has three steps and none can hang: VMM_QUIT, SIGKILL after KILL_NS, and a second signal
 * from the user kills at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "cmd/parse.h"
#include "cmd/super-int.h"

static const uint64_t KILL_NS = UINT64_C(3000000000), TTY_NS = 400000000;
enum { LOG_MAX = 1 << 20 };

/* --- stopping ---------------------------------------------------------------------------------- */

static void kill_now(struct super *s)
{
	if (s->vmm.child.pid && !s->killed) {
		s->killed = true;
		kill(s->vmm.child.pid, SIGKILL);
	}
}

static void kill_fire(struct timer *t)
{
	kill_now(CONTAINER_OF(t, struct super, kill_timer));
}

void super_stop(struct super *s, const char *why)
{
	if (s->stopping) {
		kill_now(s);
		return;
	}
	s->stopping = true;
	s->stop_why = why;
	if (child_send(&s->vmm.child, VMM_QUIT, 0))
		kill_now(s);
	timer_set(s->loop, &s->kill_timer, now_ns() + KILL_NS);
}

/* --- the terminal and its escape key ----------------------------------------------------------- */

static void menu_open(void *arg)
{
	struct super *s = arg;

	term_say(&s->term, "\n[husk] q quit  p power button  r reset  b break  s status  ? help  "
		"Ctrl-] sends Ctrl-]  other: back\n");
}

static void menu_help(struct super *s)
{
	term_say(&s->term,
		"[husk] Ctrl-] is the escape key; the next key is for husk:\n"
		"  q       quit: the machine is switched off at once, as if its plug was pulled\n"
		"  p       press the power button: a guest that handles ACPI shuts down in order\n"
		"  r       reset, as the reset button does\n"
		"  b       send a break on the serial line (Linux: magic SysRq, 'b' then a letter)\n"
		"  s       show the state of this machine\n"
		"  Ctrl-]  send Ctrl-] itself to the guest\n"
		"  other   back to the guest\n");
}

static void menu_status(struct super *s)
{
	char up[32], mem[32];

	term_say(&s->term, "[husk] %s: %s, engine %s%s%s%s, %u CPU%s, %s, up %s, %u reset%s, pid %d\n",
		s->dir.name, s->started ? "running" : "starting", s->started ? s->engine : "not known yet",
		s->engine_why[0] ? " (" : "", s->engine_why, s->engine_why[0] ? ")" : "",
		s->cfg->vmm.cpus, s->cfg->vmm.cpus == 1 ? "" : "s",
		format_size(s->cfg->vmm.memory, mem), format_duration(now_ns() - s->start_ns, up),
		s->resets, s->resets == 1 ? "" : "s", (int)s->vmm.child.pid);
	for (unsigned i = 0; i < s->devs->n; i++) {
		const struct dev *d = &s->devs->dev[i];
		char option[300];

		term_say(&s->term, "[husk] %s: %s: %s, restarted %u time%s\n", d->name, dev_option(d, option, sizeof option),
			dev_state_name(d->state), d->restarts, d->restarts == 1 ? "" : "s");
	}
}

static bool menu_key(void *arg, uint8_t key)
{
	struct super *s = arg;

	switch (key) {
	case ESCAPE_KEY:
		return true;
	case 'q':
		super_stop(s, "stopped from the escape menu");
		break;
	case 'p':
		child_send(&s->vmm.child, VMM_BUTTON, 0);
		term_say(&s->term, "[husk] power button pressed\n");
		qmp_event(s->qmp, "POWERDOWN", NULL);
		break;
	case 'r':
		child_send(&s->vmm.child, VMM_DO_RESET, 0);
		term_say(&s->term, "[husk] reset\n");
		break;
	case 'b':
		child_send(&s->vmm.child, VMM_SERIAL_BREAK, 0);
		term_say(&s->term, "[husk] break sent\n");
		break;
	case 's':
		menu_status(s);
		break;
	case '?':
	case 'h':
		menu_help(s);
		break;
	default:
		term_say(&s->term, "[husk] back to the guest\n");
	}
	return false;
}

/*
 * Takes the terminal if it is ours to take now. As a background job we look again now and then: no
 * signal tells that "fg" has put us into the foreground.
 */
static void terminal_take(struct super *s)
{
	if (s->cfg->serial != SERIAL_STDIO || s->term.tty < 0)
		return;
	if (term_raw(&s->term))
		serial_add_stdin(s->serial, true, NULL);
	else
		timer_set(s->loop, &s->tty_timer, now_ns() + TTY_NS);
}

static void tty_fire(struct timer *t)
{
	terminal_take(CONTAINER_OF(t, struct super, tty_timer));
}

static void terminal_give_back(struct super *s)
{
	timer_set(s->loop, &s->tty_timer, 0);
	if (s->term.tty >= 0)
		serial_del_stdin(s->serial);
	term_cooked(&s->term);
}

/* --- what the serial hub tells ----------------------------------------------------------------- */

static void serial_output(void *arg, const uint8_t *p, size_t n)
{
	struct super *s = arg;

	panic_feed(&s->panic, p, n);
	s->last_byte = p[n - 1];
}

static size_t serial_typed(void *arg, uint8_t *p, size_t n)
{
	struct super *s = arg;

	return escape_filter(&s->escape, p, n);
}

static void serial_closed(void *arg, int code)
{
	struct super *s = arg;

	s->output_error = code;
	super_stop(s, s->cfg->serial == SERIAL_FILE ? "the file of --serial cannot be written"
						    : "standard output was closed");
}

/* --- watches ----------------------------------------------------------------------------------- */

static void signal_ready(struct watch *w, uint32_t events)
{
	struct super *s = CONTAINER_OF(w, struct super, signal_w);
	struct signalfd_siginfo si;

	(void)events;
	if (read(w->fd, &si, sizeof si) != sizeof si)
		return;
	switch (si.ssi_signo) {
	case SIGTSTP:
		terminal_give_back(s);
		kill(getpid(), SIGSTOP);
		/* SIGCONT follows through the signalfd */
		break;
	case SIGCONT:
		term_continued(&s->term);
		if (!s->term.raw && s->term.tty >= 0)
			serial_del_stdin(s->serial);
		terminal_take(s);
		break;
	case SIGTERM:
		super_stop(s, "stopped by SIGTERM");
		break;
	case SIGINT:
		super_stop(s, "stopped by SIGINT");
		break;
	case SIGQUIT:
		super_stop(s, "stopped by SIGQUIT");
		break;
	case SIGHUP:
		super_stop(s, "stopped by SIGHUP: the terminal is gone");
		break;
	}
}

static void ready_line(struct super *s, const char *key, const char *value)
{
	if (!strcmp(key, "engine"))
		snprintf(s->engine, sizeof s->engine, "%.63s", value);
	else if (!strcmp(key, "engine_why"))
		snprintf(s->engine_why, sizeof s->engine_why, "%.511s", value);
	else if (!strcmp(key, "boot"))
		snprintf(s->boot, sizeof s->boot, "%.511s", value);
	else if (!strcmp(key, "sandbox") && !sandbox_report_parse(&s->sandbox, value))
		s->sandbox_known = true;
}

static void ready_text(struct super *s, char *text)
{
	char *save = NULL;

	child_clean(text, true);
	child_sandbox_init(&s->sandbox);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *eq = strchr(line, '=');

		if (!eq)
			continue;
		*eq = 0;
		ready_line(s, line, eq + 1);
	}
	s->started = true;
}

static void guest_reset(struct super *s)
{
	/* its last words are in the serial socket by now */
	serial_drain(s->serial);
	s->panicked |= panic_find(&s->panic, s->panic_text);
	if (s->panicked) {
		super_stop(s, "the guest panicked");
		return;
	}
	s->resets++;
	panic_forget(&s->panic);
	qmp_event(s->qmp, "RESET", json_pack("{s:b}", "guest", 1));
	/* if this fails, the end of the line follows */
	child_send(&s->vmm.child, VMM_DO_RESET, 0);
}

/* A part of husk-vmm's counters. What nobody asked for, or not any more, is dropped. */
static void stats_part(struct super *s, const struct vmm_msg *m)
{
	size_t n = min_u64(m->len, VMM_STATS_MAX - s->stats_len);

	if (m->arg2 != s->stats_id || !s->stats_timer.deadline_ns)
		return;
	memcpy(s->stats_text + s->stats_len, m->text, n);
	s->stats_len += n;
	if (!m->arg)
		super_stats_end(s, NULL);
}

static void stats_fire(struct timer *t)
{
	struct err e;

	err_set(&e, ETIMEDOUT, "husk-vmm did not answer in time");
	super_stats_end(CONTAINER_OF(t, struct super, stats_timer), &e);
}

static void message(struct super *s, const struct vmm_msg *m, char *text)
{
	switch (m->type) {
	case VMM_READY:
		ready_text(s, text);
		break;
	case VMM_EXIT:
	case VMM_ERROR:
		child_clean(text, false);
		s->have_exit = m->type == VMM_EXIT;
		s->have_error = m->type == VMM_ERROR;
		s->exit.arg = m->arg;
		s->exit.arg2 = m->arg2;
		strcpy(s->exit_text, text);
		devs_explain(s->devs, s->exit_text, sizeof s->exit_text);
		break;
	case VMM_STATS:
		stats_part(s, m);
		break;
	case VMM_RESET:
		guest_reset(s);
		break;
	case VMM_DEVICE:
		child_clean(text, false);
		if (s->devs)
			devs_state(s->devs, m->arg, m->arg2, text);
		break;
	default:
		break; /* a newer husk-vmm: see vm/control.h */
	}
}

/* One message. False when there is none, or no more will come. */
static bool control_read(struct super *s)
{
	char text[VMM_TEXT_MAX + 1];
	struct vmm_msg m;
	int rc = child_recv(&s->vmm.child, &m, text);

	if (rc > 0) {
		message(s, &m, text);
	} else if (rc == 0) {
		loop_del(s->loop, &s->control_w);
		/* it is about to end; if it is not, it is not ours to talk to any more */
		if (!s->kill_timer.deadline_ns)
			timer_set(s->loop, &s->kill_timer, now_ns() + KILL_NS);
	}
	return rc > 0;
}

static void control_ready(struct watch *w, uint32_t events)
{
	(void)events;
	control_read(CONTAINER_OF(w, struct super, control_w));
}

static void log_write(struct super *s, const char *text)
{
	size_t n = strlen(text);
	int fd;

	if (s->log_bytes >= LOG_MAX)
		return;
	fd = openat(s->dir.fd, "log", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	s->log_bytes += n;
	if (fd < 0)
		return;
	if (write(fd, text, n) < 0)
		s->log_bytes = LOG_MAX; /* a full disk: do not try again */
	close(fd);
}

void super_log(struct super *s, const char *text)
{
	term_say(&s->term, "%s", text);
	log_write(s, text);
}

static bool log_read(struct super *s)
{
	char buf[1024];
	ssize_t n = read(s->vmm.child.log, buf, sizeof buf - 1);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		loop_del(s->loop, &s->log_w);
		return false;
	}
	for (ssize_t i = 0; i < n; i++)
		if (!buf[i])
			buf[i] = '?';
	buf[n] = 0;
	child_clean(buf, true);
	super_log(s, buf);
	return true;
}

static void log_ready(struct watch *w, uint32_t events)
{
	(void)events;
	log_read(CONTAINER_OF(w, struct super, log_w));
}

/* --- what the devices tell ---------------------------------------------------------------------- */

static void devices_say(void *arg, const char *text)
{
	super_log(arg, text);
}

static void devices_log(void *arg, const char *text)
{
	log_write(arg, text);
}

static void devices_event(void *arg, const struct dev *d, enum dev_event ev)
{
	if (d->id == DEV_VNC && ev == DEV_DIED)
		super_viewers_gone(arg);
	super_device_event(arg, d, ev);
}

static int devices_socket(void *arg, unsigned number, int fd)
{
	return child_send_fd(&((struct super *)arg)->vmm.child, VMM_NEW_DEVICE, number, fd);
}

static void devices_give_up(void *arg, unsigned number)
{
	child_send(&((struct super *)arg)->vmm.child, VMM_GIVE_UP, number);
}

/* A device process that ends may do so because husk-vmm did: its last word is read before its death is believed. */
static bool devices_ending(void *arg)
{
	struct super *s = arg;
	struct pollfd p = {.fd = s->vmm.child.pidfd, .events = POLLIN};

	for (int i = 0; i < 100 && s->control_w.slot && control_read(s); i++)
		;
	return s->stopping || s->have_exit || s->have_error || poll(&p, 1, 0) != 0;
}

static void devices_answered(void *arg)
{
	super_status_part(arg);
}

static void pid_ready(struct watch *w, uint32_t events)
{
	struct super *s = CONTAINER_OF(w, struct super, pid_w);

	(void)events;
	loop_del(s->loop, w);
	loop_stop(s->loop);
}

/* --- the end ----------------------------------------------------------------------------------- */

/* What happened, for people, and the exit code. status: of waitpid(). */
static int verdict(struct super *s, int status, char *text, size_t len)
{
	int code = s->have_exit ? (int)s->exit.arg : VMM_EXIT_ERROR;

	if (s->panicked || (s->have_exit && code == VMM_EXIT_PANIC)) {
		bool known = s->panicked || panic_find(&s->panic, s->panic_text);

		snprintf(text, len, "the guest's kernel panicked: %s",
			known ? s->panic_text : s->exit_text);
		return VMM_EXIT_PANIC;
	}
	if (s->have_exit && (code == VMM_EXIT_POWEROFF || code == VMM_EXIT_TRIPLE) &&
		panic_find(&s->panic, s->panic_text)) {
		/* with --no-reboot, or a guest that resets by triple fault after its panic */
		snprintf(text, len, "the guest's kernel panicked: %s", s->panic_text);
		return VMM_EXIT_PANIC;
	}
	if (s->stop_why && (!s->have_exit || code == VMM_EXIT_STOPPED)) {
		snprintf(text, len, "%s%s", s->stop_why,
			s->killed ? " (husk-vmm did not answer and was killed)" : "");
		return s->output_error ? VMM_EXIT_ERROR : VMM_EXIT_STOPPED;
	}
	if (s->have_exit && code == VMM_EXIT_DEBUG) {
		snprintf(text, len, "%s", s->exit_text[0] ? s->exit_text : "debug exit");
		return s->exit.arg2 & 0xff;
	}
	if (s->have_exit) {
		snprintf(text, len, "%s", s->exit_text[0] ? s->exit_text : "ended without a reason");
		return code > 0xff ? VMM_EXIT_ERROR : code;
	}
	if (s->have_error) {
		/* husk-vmm has descriptors only: the user knows the file by its path */
		if (!strncmp(s->exit_text, "kernel: ", 8))
			snprintf(text, len, "--kernel %s: %s", s->cfg->kernel, s->exit_text + 8);
		else if (!strncmp(s->exit_text, "initrd: ", 8) && s->cfg->initrd)
			snprintf(text, len, "--initrd %s: %s", s->cfg->initrd, s->exit_text + 8);
		else
			snprintf(text, len, "%s", s->exit_text);
		return WIFEXITED(status) && WEXITSTATUS(status) == VMM_EXIT_USAGE ? VMM_EXIT_USAGE
										    : VMM_EXIT_ERROR;
	}
	if (s->killed)
		snprintf(text, len, "husk-vmm broke off its control line and did not end: it was killed");
	else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		snprintf(text, len, "husk-vmm was stopped by its own system call filter (SIGSYS); "
			"please report this, with the audit line from 'dmesg'");
	else if (WIFSIGNALED(status))
		snprintf(text, len, "husk-vmm was killed by signal %d (%s)", WTERMSIG(status),
			strsignal(WTERMSIG(status)));
	else
		snprintf(text, len, "husk-vmm ended with code %d and did not say why",
			WEXITSTATUS(status));
	return VMM_EXIT_ERROR;
}

/* While the last output is written: job control goes on, any other signal ends the patience. */
static bool flush_signal(void *arg)
{
	struct super *s = arg;
	struct signalfd_siginfo si;

	if (read(s->signal_w.fd, &si, sizeof si) != sizeof si)
		return false;
	if (si.ssi_signo == SIGTSTP) {
		term_cooked(&s->term);
		kill(getpid(), SIGSTOP);
	}
	return si.ssi_signo != SIGTSTP && si.ssi_signo != SIGCONT;
}

/* Everything from the reaping on. */
static int finish(struct super *s)
{
	char text[VMM_TEXT_MAX + 4200], m_text[VMM_TEXT_MAX + 1];
	struct vmm_msg m;
	int status, code;
	bool to_terminal, loud;

	status = child_reap(&s->vmm.child);
	timer_set(s->loop, &s->kill_timer, 0);
	for (int i = 0; i < 1000 && child_recv(&s->vmm.child, &m, m_text) > 0; i++)
		if (m.type != VMM_RESET)
			message(s, &m, m_text);
	serial_drain(s->serial);
	for (unsigned i = 0; i < s->cfg->nports; i++)
		serial_drain(s->ports[i].hub);
	for (int i = 0; i < 1000 && s->log_w.slot && log_read(s); i++)
		;
	devs_stop(s->devs);
	code = verdict(s, status, text, sizeof text);
	qmp_event(s->qmp, "SHUTDOWN", json_pack("{s:b,s:s,s:i,s:s}", "guest", !s->stop_why, "reason",
		s->stop_why ? "host-signal" : "guest-shutdown", "husk-exit-code", code, "husk-text",
		text));
	qmp_flush(s->qmp);
	/* for those outside, "husk stop" for one, the VM has ended now */
	qmp_free(s->qmp);
	s->qmp = NULL;
	serial_flush(s->serial, s->signal_w.fd, flush_signal, s);
	for (unsigned i = 0; i < s->cfg->nports; i++)
		serial_flush(s->ports[i].hub, s->signal_w.fd, flush_signal, s);
	to_terminal = s->cfg->serial == SERIAL_STDIO && isatty(1);
	terminal_give_back(s);
	loud = code != VMM_EXIT_POWEROFF || isatty(2);
	if (to_terminal && loud && s->last_byte && s->last_byte != '\n')
		term_say(&s->term, "\n");
	if (loud)
		term_say(&s->term, "husk: %s%s%s%s\n",
			code == VMM_EXIT_POWEROFF || code == VMM_EXIT_STOPPED ? "" : "error: ",
			s->have_error ? "" : s->dir.name, s->have_error ? "" : ": ", text);
	return code;
}

/* --- the beginning ----------------------------------------------------------------------------- */

static int serial_begin(struct super *s, int unix_fd, int file_fd, struct err *e)
{
	const struct serial_host h = {.output = serial_output, .typed = serial_typed,
		.closed = serial_closed, .arg = s};
	int vm_fd = s->vmm.serial, fd, rc;

	s->vmm.serial = -1;
	s->serial = serial_new(s->loop, vm_fd, &h, e);
	if (!s->serial)
		return -1;
	fd = rundir_listen(&s->dir, "serial", e);
	rc = fd < 0 ? fd : serial_add_listener(s->serial, fd, e);
	if (!rc && unix_fd >= 0)
		rc = serial_add_listener(s->serial, unix_fd, e);
	if (!rc && file_fd >= 0)
		rc = serial_add_file(s->serial, file_fd, e);
	if (rc || s->cfg->serial != SERIAL_STDIO)
		return rc;
	rc = serial_add_stdout(s->serial, e);
	if (rc)
		return rc;
	if (s->term.tty >= 0)
		terminal_take(s);
	else
		serial_add_stdin(s->serial, false, NULL);
	return 0;
}

static int watch_all(struct super *s, struct err *e)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT};
	sigset_t set;
	int rc;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		sigaddset(&set, signals[i]);
	s->signal_w = (struct watch){.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
		.ready = signal_ready};
	if (s->signal_w.fd < 0)
		return err_set(e, errno, "cannot watch signals: %s", strerror(errno));
	s->pid_w = (struct watch){.fd = s->vmm.child.pidfd, .ready = pid_ready};
	s->control_w = (struct watch){.fd = s->vmm.child.control, .ready = control_ready};
	s->log_w = (struct watch){.fd = s->vmm.child.log, .ready = log_ready};
	rc = loop_add(s->loop, &s->signal_w, EPOLLIN);
	rc = rc ? rc : loop_add(s->loop, &s->pid_w, EPOLLIN);
	rc = rc ? rc : loop_add(s->loop, &s->control_w, EPOLLIN);
	rc = rc ? rc : loop_add(s->loop, &s->log_w, EPOLLIN);
	return rc ? err_set(e, -rc, "cannot watch husk-vmm: %s", strerror(-rc)) : 0;
}

/* From here on signals wait until the loop reads them: no path may leave things behind. */
static void signals_block(void)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGTTOU,
		SIGTTIN};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		sigaddset(&set, signals[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* Many disks and cards are many descriptors: as many as we may have. */
static void raise_nofile(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) || rl.rlim_cur >= rl.rlim_max)
		return;
	rl.rlim_cur = min_u64(rl.rlim_max, 65536);
	setrlimit(RLIMIT_NOFILE, &rl);
}

/* The device processes first, as husk-vmm talks to them when it starts. */
static int processes_start(struct super *s, struct err *e)
{
	const struct super_config *c = s->cfg;
	const struct devs_host h = {.say = devices_say, .log = devices_log, .event = devices_event, .socket = devices_socket, .give_up = devices_give_up,
		.ending = devices_ending, .answered = devices_answered, .arg = s};
	const struct devs_config dc = {.disks = c->disks, .ndisks = c->ndisks, .nets = c->nets, .nnets = c->nnets,
		.vsock = c->vsock.text ? &c->vsock : NULL, .vsock_fd = s->vsock_fd,
		.screen = s->screen.cfg ? &s->screen : NULL, .cpus = c->vmm.cpus, .name = s->dir.name, .debug = c->vmm.debug};
	struct child_args *a = xcalloc(1, sizeof *a);
	struct vmm_config vc = c->vmm;
	char vmm_path[4096];
	int rc;

	vc.name = s->dir.name;
	rc = child_find("husk-vmm", vmm_path, e);
	rc = rc ? rc : devs_new(&s->devs, &dc, &h, e);
	rc = rc ? rc : devs_start(s->devs, a, e);
	if (!rc) {
		super_ports_args(s, a);
		screen_vmm_args(&s->screen, a);
		rc = vmm_start(&s->vmm, vmm_path, &vc, a, e);
	}
	free(a);
	if (rc)
		return rc;
	s->vmm_pid = s->vmm.child.pid;
	return 0;
}

static int open_places(struct super *s, int *unix_fd, int *file_fd, struct err *e)
{
	const struct super_config *c = s->cfg;
	int rc = 0;

	if (c->serial == SERIAL_UNIX)
		*unix_fd = rc = place_listen("--serial unix:", c->serial_path, s->socks[0], e);
	if (rc >= 0 && c->serial == SERIAL_FILE)
		*file_fd = rc = place_file("--serial file:", c->serial_path, e);
	if (rc >= 0 && c->vsock.text)
		s->vsock_fd = rc = place_listen("--vsock ", c->vsock.path, s->socks[1 + CONSOLES_MAX], e);
	if (rc >= 0 && c->display.vnc)
		rc = screen_open(&s->screen, &c->display, &s->dir, s->socks[2 + CONSOLES_MAX], e);
	return rc < 0 ? rc : super_ports_open(s, e);
}

int super_run(const struct super_config *c, struct err *e)
{
	struct super *s = xcalloc(1, sizeof *s);
	char pid[32];
	int fd, unix_fd = -1, file_fd = -1, rc;

	s->cfg = c;
	s->dir.fd = s->vsock_fd = -1;
	s->vmm = (struct vmm)VMM_INIT;
	s->signal_w.fd = -1;
	s->kill_timer.fire = kill_fire;
	s->stats_timer.fire = stats_fire;
	s->status_timer.fire = super_status_fire;
	s->tty_timer.fire = tty_fire;
	s->keys.up_timer.fire = super_keys_fire;
	s->escape = (struct escape){.open = menu_open, .key = menu_key, .arg = s};
	signals_block();
	raise_nofile();
	term_init(&s->term, &s->guard);
	s->loop = loop_new();
	if (!s->loop) {
		rc = err_set(e, errno, "cannot make an event loop: %s", strerror(errno));
		goto out;
	}
	rc = rundir_open(&s->dir, c->vmm.name, e);
	rc = rc ? rc : open_places(s, &unix_fd, &file_fd, e);
	rc = rc ? rc : guard_start(&s->guard, &s->dir, s->term.tty, &s->term.saved, s->socks, ARRAY_LEN(s->socks), e);
	if (rc)
		goto out;
	snprintf(pid, sizeof pid, "%d\n", (int)getpid());
	rc = rundir_write(&s->dir, "pid", pid);
	if (rc) {
		err_set(e, -rc, "cannot write to %s: %s", s->dir.path, strerror(-rc));
		goto out;
	}
	s->start_ns = now_ns();
	rc = processes_start(s, e);
	if (rc)
		goto out;
	fd = rundir_listen(&s->dir, "control", e);
	if (fd < 0) {
		rc = fd;
		goto out;
	}
	s->qmp = qmp_new(s->loop, fd, super_qmp_commands, s, e);
	rc = s->qmp ? watch_all(s, e) : -1;
	rc = rc ? rc : devs_watch(s->devs, s->loop, e);
	rc = rc ? rc : super_ports_begin(s, e);
	if (rc)
		goto out;
	rc = serial_begin(s, unix_fd, file_fd, e);
	unix_fd = file_fd = -1;
	if (rc)
		goto out;
	rc = loop_run(s->loop);
	if (rc) {
		err_set(e, -rc, "the event loop failed: %s", strerror(-rc));
		goto out;
	}
	rc = finish(s);
out:
	/* on any path: terminal, processes, sockets, directory, guard */
	if (s->serial && rc < 0)
		terminal_give_back(s);
	vmm_close(&s->vmm);
	devs_free(s->devs);
	qmp_free(s->qmp);
	serial_free(s->serial);
	super_ports_free(s);
	screen_close(&s->screen);
	term_fini(&s->term);
	if (unix_fd >= 0)
		close(unix_fd);
	if (file_fd >= 0)
		close(file_fd);
	if (s->vsock_fd >= 0)
		close(s->vsock_fd);
	for (size_t i = 0; i < ARRAY_LEN(s->socks); i++)
		if (s->socks[i][0])
			unlink(s->socks[i]);
	rundir_close(&s->dir);
	guard_stop(&s->guard);
	if (s->signal_w.fd >= 0)
		close(s->signal_w.fd);
	loop_free(s->loop);
	free(s);
	/* signals stay blocked: one that came late must not change the exit code */
	return rc;
}
