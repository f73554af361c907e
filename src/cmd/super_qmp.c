/* SPDX-License-Identifier: MIT */
/* The commands of the control socket. Those without "x-" or "husk" in their names are as in QEMU. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "cmd/proc.h"
#include "cmd/stats.h"
#include "cmd/super-int.h"

enum { STATS_TIMEOUT_S = 5 };
static const uint64_t STATUS_TIMEOUT_NS = 500000000;

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
	json_t *r = sent(child_send(&s->vmm.child, VMM_BUTTON, 0), e);

	(void)args;
	if (r)
		qmp_event(s->qmp, "POWERDOWN", NULL);
	return r;
}

static json_t *system_reset(void *arg, json_t *args, struct err *e)
{
	struct super *s = arg;

	(void)args;
	return sent(child_send(&s->vmm.child, VMM_DO_RESET, 0), e);
}

static json_t *x_break(void *arg, json_t *args, struct err *e)
{
	struct super *s = arg;

	(void)args;
	return sent(child_send(&s->vmm.child, VMM_SERIAL_BREAK, 0), e);
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
	int rc = super_ask(s);

	(void)args;
	if (rc)
		return sent(rc, e);
	/* the answer to a question that is on its way is for all who ask */
	s->stats_wanted = true;
	return QMP_LATER;
}

void super_device_event(struct super *s, const struct dev *d, enum dev_event ev)
{
	static const char *const names[] = {"x-device-died", "x-device-restarted", "x-device-given-up"};

	/* pid: of the process that it is about; a foreign back-end has none */
	qmp_event(s->qmp, names[ev], json_pack("{s:s,s:i,s:i,s:s}", "name", d->name, "pid", (int)d->pid, "restarts",
		(int)d->restarts, "text", d->last));
}

int super_ask(struct super *s)
{
	int rc;

	if (s->stats_timer.deadline_ns)
		return 0;
	rc = child_send(&s->vmm.child, VMM_GET_STATS, s->stats_id + 1);
	if (rc)
		return rc;
	s->stats_id++;
	s->stats_len = 0;
	timer_set(s->loop, &s->stats_timer, now_ns() + STATS_TIMEOUT_S * UINT64_C(1000000000));
	return 0;
}

/* Counters as an object; prefix: only those whose names begin so, without it. */
static json_t *stats_object(const char *text, size_t len, const char *prefix)
{
	const size_t n = strlen(prefix);
	json_t *o = json_object();
	char *copy = malloc(len + 1);
	struct stats st;

	if (!copy)
		return o;
	memcpy(copy, text, len);
	stats_parse(&st, copy, len);
	for (unsigned i = 0; i < st.n; i++) {
		const struct stats_row *r = &st.row[i];

		if (!strncmp(r->name, prefix, n))
			json_object_set_new(o, r->name + n, r->number && r->value <= INT64_MAX
				? json_integer((json_int_t)r->value) : json_string(r->text));
	}
	if (st.lost && !n)
		json_object_set_new(o, "stats.lost", json_integer(st.lost));
	free(copy);
	return o;
}

void super_stats_end(struct super *s, const struct err *e)
{
	timer_set(s->loop, &s->stats_timer, 0);
	if (e)
		s->stats_len = 0;
	super_status_part(s);
	if (!s->stats_wanted)
		return;
	s->stats_wanted = false;
	qmp_answer(s->qmp, "x-stats", e ? NULL : stats_object(s->stats_text, s->stats_len, ""), e);
}

static json_t *sandbox_list(const struct sandbox_report *r, bool known)
{
	json_t *list = json_array();

	for (unsigned i = 0; known && i < SANDBOX_NSTAGES; i++)
		json_array_append_new(list, json_pack("{s:s,s:b,s:s}", "stage", sandbox_stage_name(i),
			"in-force", !r->stage[i].code, "why", r->stage[i].text));
	return list;
}

/* sandbox: NULL for those that have none */
static void process(json_t *list, const char *name, const char *device, pid_t pid, unsigned restarts,
	const struct sandbox_report *sandbox, bool known)
{
	struct proc_stat st;
	json_t *p;

	if (!pid || proc_stat(pid, &st))
		return;
	p = json_pack("{s:s,s:i,s:I,s:I,s:i,s:i}", "name", name, "pid", (int)pid, "rss",
		(json_int_t)st.rss, "cpu-ns", (json_int_t)st.cpu_ns, "threads", (int)st.threads,
		"restarts", (int)restarts);
	if (device)
		json_object_set_new(p, "device", json_string(device));
	if (sandbox)
		json_object_set_new(p, "sandbox", sandbox_list(sandbox, known));
	json_array_append_new(list, p);
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

static void disk_object(json_t *o, const struct dev *d)
{
	const struct disk_config *c = d->disk;

	json_object_set_new(o, "kind", json_string(c->socket ? "socket" : "disk"));
	json_object_set_new(o, "path", any_string(c->path));
	if (c->socket)
		return;
	json_object_set_new(o, "size", json_integer((json_int_t)d->size));
	json_object_set_new(o, "mode", json_string(c->read_only ? "read-only" : c->snapshot ? "snapshot" : "read-write"));
	json_object_set_new(o, "cache", json_string(c->cache));
	json_object_set_new(o, "discard", json_boolean(c->discard));
	if (c->serial)
		json_object_set_new(o, "serial", json_string(c->serial));
}

static void net_object(json_t *o, const struct dev *d)
{
	static const char *const kinds[] = {"user", "tap", "tap-fd", "socket"};
	const struct net_config *c = d->net;
	json_t *forwards = json_array();
	char mac[18];

	json_object_set_new(o, "kind", json_string(kinds[c->kind]));
	if (c->path)
		json_object_set_new(o, "path", any_string(c->path));
	json_object_set_new(o, "mac", json_string(mac_format(d->mac, mac)));
	if (c->mtu)
		json_object_set_new(o, "mtu", json_integer(c->mtu));
	for (unsigned i = 0; i < c->nforwards; i++)
		json_array_append_new(forwards, any_string(c->forward[i]));
	json_object_set_new(o, "forwards", forwards);
}

static void vsock_object(json_t *o, const struct dev *d)
{
	json_object_set_new(o, "kind", json_string("vsock"));
	json_object_set_new(o, "path", any_string(d->vsock->path));
	json_object_set_new(o, "cid", json_integer(d->cid));
}

static void gpu_object(json_t *o, const struct dev *d)
{
	json_object_set_new(o, "kind", json_string("gpu"));
	json_object_set_new(o, "heads", json_integer(d->screen->cfg->heads));
}

static void vnc_object(json_t *o, const struct dev *d)
{
	(void)d;
	json_object_set_new(o, "kind", json_string("vnc"));
}

/* Of husk-vmm's counters those that begin so, if its last answer is whole. */
static json_t *vmm_stats(const struct super *s, const char *prefix)
{
	return stats_object(s->stats_text, s->stats_timer.deadline_ns ? 0 : s->stats_len, prefix);
}

static json_t *device_object(const struct super *s, const struct dev *d)
{
	static void (*const objects[DEV_KINDS])(json_t *, const struct dev *) = {[DEV_DISK] = disk_object, [DEV_NET] = net_object,
		[DEV_VSOCK] = vsock_object, [DEV_GPU] = gpu_object, [DEV_VNC] = vnc_object};
	json_t *o = json_pack("{s:s,s:s,s:i,s:i,s:i,s:s,s:s,s:i}", "name", d->name, "state", dev_state_name(d->state),
		"restarts", (int)d->restarts, "queues", (int)d->queues, "queue-size", (int)d->queue_size, "engine", d->engine,
		"last", d->last, "pid", (int)d->child.pid);
	char prefix[24];

	if (!o)
		return json_object();
	if (d->said[0])
		json_object_set_new(o, "said", json_string(d->said));
	if (d->engine_why[0])
		json_object_set_new(o, "engine-why", json_string(d->engine_why));
	objects[d->id](o, d);
	json_object_set_new(o, "counters", d->stats ? stats_object(d->stats, d->stats_len, "") : json_object());
	/* husk-vmm's side of it: "disk0.kicks 17" */
	snprintf(prefix, sizeof prefix, "%s.", d->name);
	json_object_set_new(o, "front", vmm_stats(s, prefix));
	return o;
}

static json_t *ports_list(const struct super *s)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < s->cfg->nports; i++) {
		const struct super_port *p = &s->ports[i];
		struct serial_stats ss;

		serial_stats(p->hub, &ss);
		json_array_append_new(list, json_pack("{s:s,s:s,s:o,s:I,s:I,s:I,s:i}", "name", p->cfg->name, "mode",
			p->cfg->file ? "file" : "unix", "path", any_string(p->cfg->path), "output", (json_int_t)ss.output,
			"input", (json_int_t)ss.input, "dropped", (json_int_t)ss.dropped, "clients", (int)ss.clients));
	}
	return list;
}

static json_t *status_object(struct super *s)
{
	const struct super_config *c = s->cfg;
	static const char *const serial_names[] = {"stdio", "none", "unix", "file"};
	json_t *processes = json_array(), *devices = json_array();
	struct serial_stats ss;

	serial_stats(s->serial, &ss);
	process(processes, "husk", NULL, getpid(), 0, NULL, false);
	process(processes, "husk-vmm", NULL, s->vmm.child.pid, 0, &s->sandbox, s->sandbox_known);
	for (unsigned i = 0; i < s->devs->n; i++) {
		const struct dev *d = &s->devs->dev[i];

		process(processes, d->program ? d->program : "", d->name, d->child.pid, d->restarts, &d->sandbox,
			d->sandbox_known);
		json_array_append_new(devices, device_object(s, d));
	}
	process(processes, "husk-guard", NULL, s->guard.pid, 0, NULL, false);
	return json_pack("{s:s,s:s,s:s,s:i,s:s,s:s,s:s,s:o,s:b,s:i,s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:b,s:b,s:I,s:i,"
			 "s:o,s:o*,s:{s:s,s:o,s:I,s:I,s:I,s:i}}",
		"name", s->dir.name, "version", HUSK_VERSION, "status", state_name(s), "pid", (int)getpid(),
		"engine", s->engine, "engine-why", s->engine_why, "boot", s->boot,
		"sandbox", sandbox_list(&s->sandbox, s->sandbox_known), "sandbox-known", s->sandbox_known,
		"cpus", (int)c->vmm.cpus, "memory", (json_int_t)c->vmm.memory, "kernel", any_string(or_empty(c->kernel)),
		"initrd", any_string(or_empty(c->initrd)), "append", any_string(c->vmm.append), "processes", processes,
		"devices", devices, "consoles", ports_list(s), "rng", !c->vmm.no_rng, "balloon", !c->vmm.no_balloon,
		"uptime-ns", (json_int_t)(now_ns() - s->start_ns), "resets", (int)s->resets,
		"balloon-counters", vmm_stats(s, "balloon_"), "screen", super_screen_object(s),
		"serial", "mode", serial_names[c->serial], "path", any_string(or_empty(c->serial_path)),
		"output", (json_int_t)ss.output, "input", (json_int_t)ss.input, "dropped",
		(json_int_t)ss.dropped, "clients", (int)ss.clients);
}

static void status_end(struct super *s)
{
	s->status_wanted = false;
	timer_set(s->loop, &s->status_timer, 0);
	qmp_answer(s->qmp, "query-husk", status_object(s), NULL);
}

void super_status_fire(struct timer *t)
{
	status_end(CONTAINER_OF(t, struct super, status_timer));
}

void super_status_part(struct super *s)
{
	if (s->status_wanted && !--s->status_waits)
		status_end(s);
}

/* Counters are elsewhere: asks for them, and does not wait long. "counters": false takes what was told last. */
static json_t *query_husk(void *arg, json_t *args, struct err *e)
{
	struct super *s = arg;

	(void)e;
	if (json_is_false(json_object_get(args, "counters")))
		return status_object(s);
	if (s->status_wanted)
		return QMP_LATER;
	s->status_waits = devs_ask(s->devs) ? 1 : 0;
	if (s->started && !super_ask(s))
		s->status_waits++;
	if (!s->status_waits)
		return status_object(s);
	s->status_wanted = true;
	timer_set(s->loop, &s->status_timer, now_ns() + STATUS_TIMEOUT_NS);
	return QMP_LATER;
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
	{"x-screen", super_x_screen},
	{"x-input", super_x_input},
	{"send-key", super_send_key},
	{"input-send-event", super_send_event},
	{NULL, NULL},
};
