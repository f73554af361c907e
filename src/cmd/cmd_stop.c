/* SPDX-License-Identifier: MIT */
/* husk stop: the power button, patience, then the plug. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "cmd/client.h"
#include "cmd/cmd.h"
#include "cmd/parse.h"

struct stop_config {
	struct cmd_common common;
	const char *name;
	uint64_t timeout_ns;
	int force;
};

static const uint64_t SECOND = UINT64_C(1000000000);

static int set_timeout(void *cfg, const char *v, struct err *e)
{
	return parse_duration(v, &((struct stop_config *)cfg)->timeout_ns, e);
}

static int set_force(void *cfg, const char *v, struct err *e)
{
	(void)v, (void)e;
	((struct stop_config *)cfg)->force = 1;
	return 0;
}

static int set_name(void *cfg, const char *word, struct err *e)
{
	struct stop_config *c = cfg;

	if (c->name)
		return err_set(e, EINVAL, "'%.60s': one machine at a time", word);
	c->name = word;
	return parse_name(word, e);
}

static const struct opt opts[] = {
	{"timeout", 't', "TIME", set_timeout, "how long the guest may take, for example 2m; default 30s"},
	{"force", 'f', NULL, set_force, "the hard way at once, as if the plug was pulled"},
	CMD_OPT_HELP,
	{.name = NULL},
};

/* Waits for the end of the VM, with a sign of life each second on a terminal. 0: it has ended. */
static int wait_end(struct client *c, const char *what, uint64_t timeout_ns)
{
	uint64_t start = now_ns(), end = start + timeout_ns;
	bool show = isatty(2), shown = false;
	int rc;

	do {
		uint64_t now = now_ns();

		rc = client_wait_end(c, min_u64(end, now + SECOND));
		if (rc == -ETIMEDOUT && show && now_ns() < end) {
			fprintf(stderr, "\r%s, %llu of %llu s ", what,
				(unsigned long long)((now_ns() - start) / SECOND),
				(unsigned long long)(timeout_ns / SECOND));
			shown = true;
		}
	} while (rc == -ETIMEDOUT && now_ns() < end);
	if (shown)
		fprintf(stderr, "\r\033[K");
	return rc;
}

/* A supervisor that does not even answer: by signal. husk-vmm and the rest go with it. */
static int kill_supervisor(struct client *c, struct err *e)
{
	int fd = c->pid ? (int)syscall(SYS_pidfd_open, c->pid, 0) : -1;
	int rc = 0;

	/* the connection is still open, so the pid is still that of the supervisor */
	if (fd < 0 || client_wait_end(c, now_ns()) != -ETIMEDOUT)
		rc = fd < 0 ? err_set(e, ESRCH, "its process cannot be found") : 0;
	else if (syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0))
		rc = err_set(e, errno, "it cannot be killed: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return rc ? rc : client_wait_end(c, now_ns() + 5 * SECOND);
}

static int hard(struct client *c, struct err *e)
{
	/* if the command is not even answered, what follows deals with that */
	client_command(c, "quit", NULL, e);
	if (!wait_end(c, "switching it off", 6 * SECOND))
		return 0;
	log_warn("it does not answer: killing it");
	return kill_supervisor(c, e);
}

static int run(int argc, char **argv)
{
	struct stop_config cfg = {.timeout_ns = 30 * SECOND};
	struct client c = {.fd = -1};
	struct err e = {.code = 0};
	char time[32];
	int rc;

	if (opts_parse(opts, &cfg, argc, argv, set_name, &e)) {
		log_err("stop: %s", e.text);
		return CMD_USAGE;
	}
	if (cfg.common.help) {
		cmd_help_print(&cmd_stop);
		return CMD_OK;
	}
	if (!cfg.name) {
		log_err("stop: which machine? 'husk stop NAME'; 'husk list' shows the names");
		return CMD_USAGE;
	}
	rc = client_open(&c, cfg.name, &e);
	if (rc && c.fd < 0) {
		log_err("%s", e.text);
		return CMD_FAILED;
	}
	if (!rc && !cfg.force) {
		rc = client_command(&c, "system_powerdown", NULL, &e);
		if (!rc && !wait_end(&c, "waiting for the guest to shut down", cfg.timeout_ns)) {
			client_close(&c);
			return CMD_OK;
		}
		if (!rc)
			log_warn("%s did not shut down within %s: switching it off", cfg.name,
				format_duration(cfg.timeout_ns, time));
	}
	if (rc == -ETIMEDOUT) {
		log_warn("%s does not answer: killing it", cfg.name);
		rc = kill_supervisor(&c, &e);
	} else {
		rc = hard(&c, &e);
	}
	client_close(&c);
	if (rc) {
		log_err("%s: %s", cfg.name, e.code ? e.text : "it does not end");
		return CMD_FAILED;
	}
	return CMD_OK;
}

const struct cmd cmd_stop = {
	"stop", "NAME [options]", "press a machine's power button, then pull the plug", run, opts,
	"The guest is asked by ACPI power button to shut down in order. If it has not done so\n"
	"when the time is over, or with --force, it is switched off.\n"
	"\n"
	"Examples:\n"
	"  husk stop web\n"
	"  husk stop web --timeout 2m     for a guest that needs long\n"
	"  husk stop web --force          do not ask\n",
};
