/* SPDX-License-Identifier: MIT */
/* The commands of the control socket. Those without "x-" or "husk" in their names are as in QEMU. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "cmd/proc.h"
#include "cmd/super-int.h"

enum { STATS_TIMEOUT_S = 5 };

static json_t *query_version(void *arg, json_t *args, struct err *e)
{
	(void)arg, (void)args, (void)e;
	return json_pack("{s:{s:i,s:i,s:i},s:s}", "qemu", "micro", 0, "minor", 0, "major", 0, "package",
		"husk " HUSK_VERSION);
}

static const char *state_name(const struct super *s)
{
	if (s->stopping)
		return "shutdown";
	return s->started ? "running" : "prelaunch";
}

static json_t *query_status(void *arg, json_t *args, struct err *e)
{
	struct super *s = arg;

	(void)args, (void)e;
	return json_pack("{s:s,s:b,s:b}", "status", state_name(s), "running",
		s->started && !s->stopping, "singlestep", 0);
}

static json_t *query_name(void *arg, json_t *args, struct err *e)
{
	struct super *s = arg;

	(void)args, (void)e;
	return json_pack("{s:s}", "name", s->dir.name);
}

static json_t *sent(int rc, struct err *e)
{
	if (!rc)
		return json_object();
	err_set(e, -rc, "husk-vmm cannot be reached: %s", strerror(-rc));
	return NULL;
}

static json_t *system_powerdown(void *arg, json_t *args, struct err *e)
{
	struct super *s = arg;
	json_t *r = sent(vmm_send(&s->vmm, VMM_BUTTON, 0), e);

	(void)args;
	if (r)
		qmp_event(s->qmp, "POWERDOWN", NULL);
	return r;
}

static json_t *system_reset(void *arg, json_t *args, struct err *e)
{
	struct super *s = arg;

	(void)args;
	return sent(vmm_send(&s->vmm, VMM_DO_RESET, 0), e);
}

static json_t *x_break(void *arg, json_t *args, struct err *e)
{
	struct super *s = arg;

	(void)args;
	return sent(vmm_send(&s->vmm, VMM_SERIAL_BREAK, 0), e);
}

static json_t *quit(void *arg, json_t *args, struct err *e)
{
	struct super *s = arg;

	(void)args, (void)e;
	super_stop(s, "stopped through the control socket");
	return json_object();
}

static json_t *x_stats(void *arg, json_t *args, struct err *e)
{
	struct super *s = arg;
	int rc;

	(void)args;
	/* the answer to a question that is on its way is for all who ask */
	if (s->stats_timer.deadline_ns)
		return QMP_LATER;
	rc = vmm_send(&s->vmm, VMM_GET_STATS, s->stats_id + 1);
	if (rc)
		return sent(rc, e);
	s->stats_id++;
	s->stats_len = 0;
	timer_set(s->loop, &s->stats_timer, now_ns() + STATS_TIMEOUT_S * UINT64_C(1000000000));
	return QMP_LATER;
}

static json_t *process(const char *name, pid_t pid)
{
	struct proc_stat st;

	if (!pid || proc_stat(pid, &st))
		return NULL;
	return json_pack("{s:s,s:i,s:I,s:I,s:i,s:i}", "name", name, "pid", (int)pid, "rss",
		(json_int_t)st.rss, "cpu-ns", (json_int_t)st.cpu_ns, "threads", (int)st.threads,
		"restarts", 0);
}

static json_t *sandbox_list(const struct super *s)
{
	json_t *list = json_array();

	for (unsigned i = 0; s->sandbox_known && i < SANDBOX_NSTAGES; i++)
		json_array_append_new(list, json_pack("{s:s,s:b,s:s}", "stage", sandbox_stage_name(i),
			"in-force", !s->sandbox.stage[i].code, "why", s->sandbox.stage[i].text));
	return list;
}

static const char *or_empty(const char *s)
{
	return s ? s : "";
}

/* A user's words (paths, command lines) need not be UTF-8, which JSON insists on. */
static json_t *any_string(const char *s)
{
	json_t *j = json_string(s);

	return j ? j : json_string("(not UTF-8)");
}

static json_t *query_husk(void *arg, json_t *args, struct err *e)
{
	struct super *s = arg;
	const struct super_config *c = s->cfg;
	static const char *const serial_names[] = {"stdio", "none", "unix", "file"};
	json_t *processes = json_array(), *p;
	struct serial_stats ss;

	(void)args, (void)e;
	serial_stats(s->serial, &ss);
	p = process("husk", getpid());
	if (p)
		json_array_append_new(processes, p);
	p = process("husk-vmm", s->vmm.pid);
	if (p)
		json_array_append_new(processes, p);
	p = process("husk-guard", s->guard.pid);
	if (p)
		json_array_append_new(processes, p);
	return json_pack("{s:s,s:s,s:s,s:i,s:s,s:s,s:s,s:o,s:b,s:i,s:I,s:o,s:o,s:o,s:o,s:I,s:i,"
			 "s:{s:s,s:o,s:I,s:I,s:I,s:i}}",
		"name", s->dir.name, "version", HUSK_VERSION, "status", state_name(s), "pid", (int)getpid(),
		"engine", s->engine, "engine-why", s->engine_why, "boot", s->boot,
		"sandbox", sandbox_list(s), "sandbox-known", s->sandbox_known, "cpus", (int)c->vmm.cpus,
		"memory", (json_int_t)c->vmm.memory, "kernel", any_string(or_empty(c->kernel)), "initrd",
		any_string(or_empty(c->initrd)), "append", any_string(c->vmm.append), "processes",
		processes, "uptime-ns", (json_int_t)(now_ns() - s->start_ns), "resets", (int)s->resets,
		"serial", "mode", serial_names[c->serial], "path", any_string(or_empty(c->serial_path)),
		"output", (json_int_t)ss.output, "input", (json_int_t)ss.input, "dropped",
		(json_int_t)ss.dropped, "clients", (int)ss.clients);
}

const struct qmp_command super_qmp_commands[] = {
	{"query-version", query_version},
	{"query-status", query_status},
	{"query-name", query_name},
	{"query-husk", query_husk},
	{"system_powerdown", system_powerdown},
	{"system_reset", system_reset},
	{"quit", quit},
	{"x-break", x_break},
	{"x-stats", x_stats},
	{NULL, NULL},
};
