/* SPDX-License-Identifier: MIT */
/* What devices, and we of them, have to say to the user: never more than a screen can hold. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "cmd/devs-int.h"

static const uint64_t SECOND_NS = 1000000000;

void dev_say(struct dev *d, const char *fmt, ...)
{
	char text[600], line[640];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	child_clean(text, false);
	snprintf(line, sizeof line, "husk: %s: %s\n", d->name, text);
	d->all->host.say(d->all->host.arg, line);
}

void dev_log_tell(struct dev *d)
{
	unsigned n = d->hidden;

	d->hidden = 0;
	if (n)
		dev_say(d, "%u more line%s of its process %s not shown; the file 'log' of the runtime directory has the first MiB", n,
			n == 1 ? "" : "s", n == 1 ? "was" : "were");
}

void dev_log_fire(struct timer *t)
{
	dev_log_tell(CONTAINER_OF(t, struct dev, hidden_timer));
}

/* A line that its process logged, complete. */
static void log_line(struct dev *d, const char *line)
{
	const uint64_t now = now_ns();

	if (now - d->lines_ns >= SECOND_NS) {
		dev_log_tell(d);
		d->lines_ns = now;
		d->lines = 0;
	}
	if (d->lines < DEV_LINES) {
		d->lines++;
		d->all->host.say(d->all->host.arg, line);
		return;
	}
	d->hidden++;
	d->all->host.log(d->all->host.arg, line);
	if (d->all->loop && !d->hidden_timer.deadline_ns)
		timer_set(d->all->loop, &d->hidden_timer, d->lines_ns + SECOND_NS);
}

/* Its standard error: each line with the device's name, as several run the same program. */
bool dev_log_read(struct dev *d)
{
	char buf[1024], *save = NULL;
	ssize_t n = read(d->child.log, buf, sizeof buf - 1);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		if (d->log_w.slot)
			loop_del(d->all->loop, &d->log_w);
		return false;
	}
	buf[n] = 0;
	child_clean(buf, true);
	for (char *line = strtok_r(buf, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char out[1100];

		if (strstr(line, ": error: ") || strstr(line, ": warn: "))
			snprintf(d->said, sizeof d->said, "%.399s", line);
		snprintf(out, sizeof out, "%s: %s\n", d->name, line);
		log_line(d, out);
	}
	return true;
}

void dev_log_ready(struct watch *w, uint32_t events)
{
	(void)events;
	dev_log_read(CONTAINER_OF(w, struct dev, log_w));
}
