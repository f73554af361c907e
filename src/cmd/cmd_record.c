/* SPDX-License-Identifier: MIT */
/*
 * husk record: what a machine's screen shows, as a file that RFB players show again: FBS 001.000, as rfbproxy has it.
 *
 * The file is "FBS 001.000\n", then blocks: a length (32 bits, big-endian as all numbers), so many bytes, zeros up to a multiple of
 * four, and the milliseconds since the beginning. The bytes of all blocks together are what a server of RFB 3.3 sends: version,
 * security type None, ServerInit, then FramebufferUpdate messages (RFC 6143, 7.6.1) with rectangles in the encodings ZRLE (16) or
 * Raw (0), and DesktopSize (-223) when the size changes: what every viewer knows.
 *
 * Some times a second the screen is looked at. What was damaged is compared with the picture that a player has by now, and
 * what differs is written. The guest's pointer, which is no part of its picture, is drawn over it. Two pictures and a block of the
 * file are all the memory there is.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pixman.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/util.h"
#include "cmd/cmd.h"
#include "cmd/parse.h"
#include "cmd/rundir.h"
#include "cmd/screen_client.h"
#include "display/refine.h"
#include "rfb/encode.h"

enum { BLOCK = 64 << 10, BAND = 512 << 10 /* bytes of pixels in one rectangle */ };
static const uint64_t SECOND = UINT64_C(1000000000);

struct record_config {
	struct cmd_common common;
	const char *name, *file;
	unsigned fps;
	uint64_t time_ns; /* 0: no limit */
	bool raw;
};

struct recorder {
	const struct record_config *c;
	struct screen_client screen;
	struct display_sink sink;
	struct watch signal_w, end_w, viewer_w;
	uint64_t viewer_ns;        /* when it was tried last */
	struct timer timer;
	pixman_region32_t damage;
	bool resized;
	struct surface now, shown; /* shown: what a player has */
	struct rect pointer;       /* where it is drawn in these; empty: nowhere */
	const struct rfb_encoder_ops *encoding;
	struct rfb_encoder *encoder; /* with one stream for the whole file */
	int fd;
	struct buf out;            /* of a block */
	uint64_t start_ns, bytes, updates, said_ns;
	struct err *e;             /* code set: it is over */
};

/* --- options ----------------------------------------------------------------------------------- */

static int set_fps(void *cfg, const char *v, struct err *e)
{
	return parse_number(v, 1, 60, &((struct record_config *)cfg)->fps, e);
}

static int set_time(void *cfg, const char *v, struct err *e)
{
	struct record_config *c = cfg;
	int rc = parse_duration(v, &c->time_ns, e);

	return rc || c->time_ns ? rc : err_set(e, EINVAL, "'%.40s' is no time at all", v);
}

static int set_raw(void *cfg, const char *v, struct err *e)
{
	(void)v, (void)e;
	((struct record_config *)cfg)->raw = true;
	return 0;
}

static int set_word(void *cfg, const char *word, struct err *e)
{
	struct record_config *c = cfg;

	return screen_word(&c->name, &c->file, word, e);
}

static const struct opt opts[] = {
	{"fps", 0, "N", set_fps, "looks per second, 1 to 60; default 20"},
	{"seconds", 's', "TIME", set_time, "end after so long; default: Ctrl-C, or the machine's end"},
	{"raw", 0, NULL, set_raw, "not compressed: large, but every tool can read it"},
	CMD_OPT_HELP,
	{.name = NULL},
};

/* --- the file ---------------------------------------------------------------------------------- */

static int put(struct recorder *r, const void *p, size_t n)
{
	const uint8_t *from = p;

	r->bytes += n;
	while (n) {
		ssize_t k = write(r->fd, from, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return err_set(r->e, errno ? errno : EIO, "cannot write to %.300s: %s", r->c->file, strerror(errno));
		from += k;
		n -= (size_t)k;
	}
	return 0;
}

/* What was gathered becomes a block. */
static int block(struct recorder *r)
{
	const uint32_t ms = (uint32_t)((now_ns() - r->start_ns) / 1000000);
	const uint32_t len = (uint32_t)r->out.len;
	uint8_t length[4] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len};
	int rc;

	if (!len)
		return 0;
	while (r->out.len % 4)
		buf_u8(&r->out, 0);
	buf_be32(&r->out, ms);
	if (r->out.failed)
		return err_set(r->e, ENOMEM, "there is no memory");
	rc = put(r, length, sizeof length);
	rc = rc ? rc : put(r, r->out.p, r->out.len);
	buf_clear(&r->out);
	return rc;
}

static int rectangle(struct recorder *r, struct rect q)
{
	const struct rfb_params how = {.format = rfb_format_native, .level = -1, .quality = -1};
	pixman_region32_t lossy;
	int n;

	pixman_region32_init(&lossy);
	n = r->encoding->encode(r->encoder, &how, &r->shown, q, &r->out, &lossy);
	pixman_region32_fini(&lossy);
	/* update() has promised one */
	assert(n == 1 || n < 0);
	if (n < 0)
		return err_set(r->e, ENOMEM, "there is no memory");
	return r->out.len >= BLOCK ? block(r) : 0;
}

/* Large ones in bands, so that what is gathered for a block stays small. */
static uint32_t band_height(struct rect q)
{
	return (uint32_t)max_u64(1, BAND / (q.w * 4));
}

static int start(struct recorder *r)
{
	const struct display_picture *p = display_picture(r->screen.display);
	char name[NAME_LEN_MAX + 16];
	int n = snprintf(name, sizeof name, "%s (husk)", r->c->name);

	if (put(r, "FBS 001.000\n", 12))
		return -r->e->code;
	buf_put(&r->out, "RFB 003.003\n", 12);
	buf_be32(&r->out, 1);
	buf_be16(&r->out, (uint16_t)p->w);
	buf_be16(&r->out, (uint16_t)p->h);
	rfb_format_put(&r->out, &rfb_format_native);
	buf_be32(&r->out, (uint32_t)n);
	buf_put(&r->out, name, (size_t)n);
	return block(r);
}

/* --- updates ----------------------------------------------------------------------------------- */

/* The picture has another size: new surfaces. Black is what a player has then. */
static int adopt(struct recorder *r)
{
	const struct display_picture *p = display_picture(r->screen.display);

	free(r->now.px);
	free(r->shown.px);
	r->shown.px = NULL;
	r->pointer = (struct rect){0, 0, 0, 0};
	if (screen_surface(&r->now, p->w, p->h, r->e) || screen_surface(&r->shown, p->w, p->h, r->e))
		return -r->e->code;
	pixman_region32_fini(&r->damage);
	pixman_region32_init_rect(&r->damage, 0, 0, p->w, p->h);
	return 0;
}

static struct rect rect_of(const pixman_box32_t *b)
{
	return (struct rect){(uint32_t)b->x1, (uint32_t)b->y1, (uint32_t)(b->x2 - b->x1), (uint32_t)(b->y2 - b->y1)};
}

/* Where the pointer is now, as much of it as is inside. */
static struct rect pointer_place(const struct scanout_view_cursor *c, const struct surface *s, int64_t *x, int64_t *y)
{
	int64_t right, bottom;

	*x = (int64_t)c->x - c->hot_x;
	*y = (int64_t)c->y - c->hot_y;
	right = *x + c->w < s->w ? *x + c->w : s->w;
	bottom = *y + c->h < s->h ? *y + c->h : s->h;
	if (!c->w || right <= 0 || bottom <= 0 || *x >= right || *y >= bottom)
		return (struct rect){0, 0, 0, 0};
	return (struct rect){(uint32_t)(*x < 0 ? 0 : *x), (uint32_t)(*y < 0 ? 0 : *y), (uint32_t)(right - (*x < 0 ? 0 : *x)),
		(uint32_t)(bottom - (*y < 0 ? 0 : *y))};
}

/* Premultiplied ARGB over a pixel. */
static uint32_t over(uint32_t top, uint32_t under)
{
	const uint32_t rest = 255 - (top >> 24);
	uint32_t out = 0;

	for (unsigned shift = 0; shift < 24; shift += 8) {
		uint32_t v = (top >> shift & 255) + ((under >> shift & 255) * rest + 127) / 255;

		out |= (v < 255 ? v : 255) << shift;
	}
	return out;
}

static void damage(struct recorder *r, struct rect q)
{
	if (!rect_empty(q))
		pixman_region32_union_rect(&r->damage, &r->damage, (int)q.x, (int)q.y, q.w, q.h);
}

/* The damaged part of the picture as it is now, with the pointer on top; both its places are damaged, too. */
static void look(struct recorder *r)
{
	const struct scanout_view_cursor *c = display_cursor(r->screen.display);
	const pixman_box32_t *b;
	int64_t x, y;
	int n;

	damage(r, r->pointer);
	r->pointer = pointer_place(c, &r->now, &x, &y);
	damage(r, r->pointer);
	b = pixman_region32_rectangles(&r->damage, &n);
	for (int i = 0; i < n; i++)
		display_read(r->screen.display, &r->now, rect_of(&b[i]));
	for (uint32_t v = r->pointer.y; v < r->pointer.y + r->pointer.h; v++)
		for (uint32_t u = r->pointer.x; u < r->pointer.x + r->pointer.w; u++) {
			uint32_t *p = surface_row(&r->now, u, v);

			*p = over(c->px[(size_t)(v - y) * c->w + (size_t)(u - x)], *p);
		}
}

/* What of the damage differs from what is shown, taken over; all of it if the picture is new. */
static void compare(struct recorder *r, bool all, pixman_region32_t *changed)
{
	const pixman_box32_t *b;
	int n;

	look(r);
	if (all)
		pixman_region32_copy(changed, &r->damage);
	else
		refine_find(&r->now, &r->shown, &r->damage, changed);
	pixman_region32_clear(&r->damage);
	b = pixman_region32_rectangles(changed, &n);
	for (int i = 0; i < n; i++)
		refine_copy(&r->shown, &r->now, rect_of(&b[i]));
}

static int update(struct recorder *r)
{
	const bool resized = r->resized, first = !r->updates;
	pixman_region32_t changed;
	const pixman_box32_t *b;
	unsigned count = 0;
	int n, rc = 0;

	if (resized && adopt(r))
		return -r->e->code;
	r->resized = false;
	pixman_region32_init(&changed);
	compare(r, resized, &changed);
	b = pixman_region32_rectangles(&changed, &n);
	for (int i = 0; i < n; i++)
		count += (rect_of(&b[i]).h + band_height(rect_of(&b[i])) - 1) / band_height(rect_of(&b[i]));
	if (count) {
		buf_be16(&r->out, 0); /* FramebufferUpdate, padding */
		buf_be16(&r->out, (uint16_t)(count + (resized && !first)));
		if (resized && !first)
			rfb_rect_header(&r->out, (struct rect){0, 0, r->shown.w, r->shown.h}, RFB_DESKTOP_SIZE);
		r->updates++;
	}
	for (int i = 0; i < n; i++) {
		struct rect q = rect_of(&b[i]);
		const uint32_t end = q.y + q.h, step = band_height(q);

		for (; q.y < end && !rc; q.y += step) {
			q.h = (uint32_t)min_u64(step, end - q.y);
			rc = rectangle(r, q);
		}
	}
	pixman_region32_fini(&changed);
	return rc ? rc : block(r);
}

static void on_resized(struct display_sink *k)
{
	CONTAINER_OF(k, struct recorder, sink)->resized = true;
}

static void on_damaged(struct display_sink *k, const struct rect *rects, unsigned n)
{
	struct recorder *r = CONTAINER_OF(k, struct recorder, sink);

	for (unsigned i = 0; i < n; i++)
		damage(r, rects[i]);
}

/* look() asks each time */
static void on_cursor(struct display_sink *k)
{
	(void)k;
}

/* --- the loop ---------------------------------------------------------------------------------- */

static void progress(struct recorder *r, uint64_t now, bool last)
{
	char size[32], time[32];

	if (!isatty(2) || (!last && now - r->said_ns < SECOND / 4))
		return;
	r->said_ns = now;
	fprintf(stderr, "\r%s: %s, %" PRIu64 " updates, %s%s\033[K%s", r->c->file, format_duration(now - r->start_ns, time),
		r->updates, format_size(r->bytes, size), last ? "" : "; Ctrl-C ends", last ? "\n" : "");
}

static void viewer_close(struct recorder *r)
{
	if (r->viewer_w.fd < 0)
		return;
	loop_del(r->screen.loop, &r->viewer_w);
	close(r->viewer_w.fd);
	r->viewer_w.fd = -1;
}

/* What a server tells to all: of no interest. */
static void viewer_ready(struct watch *w, uint32_t events)
{
	char buf[4096];
	ssize_t n = recv(w->fd, buf, sizeof buf, MSG_DONTWAIT);

	(void)events;
	if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
		viewer_close(CONTAINER_OF(w, struct recorder, viewer_w));
}

/*
 * We are a viewer, too, one that asks for no picture: so husk status counts us, and husk-vmm looks at the framebuffer as
 * often as it does for viewers. Version, security type None and ClientInit (shared) go at once. That it fails is no harm.
 */
static void attend(struct recorder *r, uint64_t now)
{
	static const char hello[] = "RFB 003.008\n\1\1";

	if (r->viewer_w.fd >= 0 || (r->viewer_ns && now - r->viewer_ns < SECOND))
		return;
	r->viewer_ns = now;
	r->viewer_w = (struct watch){.fd = rundir_connect_to(r->c->name, "rfb", NULL), .ready = viewer_ready};
	if (r->viewer_w.fd < 0) {
		r->viewer_w.fd = -1;
		return;
	}
	if (send(r->viewer_w.fd, hello, sizeof hello - 1, MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof hello - 1 ||
		loop_add(r->screen.loop, &r->viewer_w, EPOLLIN)) {
		close(r->viewer_w.fd);
		r->viewer_w.fd = -1;
	}
}

static void tick(struct timer *t)
{
	struct recorder *r = CONTAINER_OF(t, struct recorder, timer);
	const uint64_t now = now_ns();

	attend(r, now);
	if (update(r) || (r->c->time_ns && now - r->start_ns >= r->c->time_ns)) {
		loop_stop(r->screen.loop);
		return;
	}
	progress(r, now, false);
	/* what the display finds now is written the next time */
	screen_client_look(&r->screen);
	timer_set(r->screen.loop, t, now + SECOND / r->c->fps);
}

static void signal_ready(struct watch *w, uint32_t events)
{
	(void)events;
	loop_stop(CONTAINER_OF(w, struct recorder, signal_w)->screen.loop);
}

/* Events of the machine, or its end */
static void end_ready(struct watch *w, uint32_t events)
{
	struct recorder *r = CONTAINER_OF(w, struct recorder, end_w);
	char buf[4096];
	ssize_t n = read(w->fd, buf, sizeof buf);

	(void)events;
	if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
		loop_stop(r->screen.loop);
}

static int watch(struct recorder *r)
{
	sigset_t set;
	int rc;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	r->signal_w = (struct watch){.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), .ready = signal_ready};
	r->end_w = (struct watch){.fd = r->screen.client.fd, .ready = end_ready};
	rc = loop_add(r->screen.loop, &r->signal_w, EPOLLIN);
	rc = rc ? rc : loop_add(r->screen.loop, &r->end_w, EPOLLIN);
	return rc ? err_set(r->e, -rc, "cannot watch the machine: %s", strerror(-rc)) : 0;
}

static int record(struct recorder *r)
{
	int rc;

	r->start_ns = now_ns();
	rc = start(r);
	if (rc)
		return rc;
	r->resized = true;
	r->sink = (struct display_sink){.resized = on_resized, .damaged = on_damaged, .cursor = on_cursor};
	display_attach(r->screen.display, &r->sink);
	rc = watch(r);
	if (rc)
		return rc;
	r->timer.fire = tick;
	timer_set(r->screen.loop, &r->timer, r->start_ns + 1);
	rc = loop_run(r->screen.loop);
	if (rc)
		return err_set(r->e, -rc, "the event loop failed: %s", strerror(-rc));
	progress(r, now_ns(), true);
	return -r->e->code;
}

static int open_file(struct recorder *r)
{
	const bool out = !strcmp(r->c->file, "-");

	r->fd = out ? 1 : open(r->c->file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
	return r->fd < 0 ? err_set(r->e, errno, "cannot write to %.300s: %s", r->c->file, strerror(errno)) : 0;
}

static int record_to_file(const struct record_config *c, struct err *e)
{
	struct recorder r = {.c = c, .fd = -1, .e = e, .signal_w = {.fd = -1}, .viewer_w = {.fd = -1}};
	int rc = screen_client_open(&r.screen, c->name, e);

	pixman_region32_init(&r.damage);
	r.encoding = c->raw ? &rfb_raw : &rfb_zrle;
	r.encoder = r.encoding->open();
	if (!rc && !r.encoder && !c->raw)
		rc = err_set(e, ENOMEM, "there is no memory");
	rc = rc ? rc : open_file(&r);
	rc = rc ? rc : record(&r);
	if (r.fd > 1 && close(r.fd) && !rc)
		rc = err_set(e, errno, "cannot write to %.300s: %s", c->file, strerror(errno));
	r.encoding->close(r.encoder);
	pixman_region32_fini(&r.damage);
	free(r.now.px);
	free(r.shown.px);
	buf_fini(&r.out);
	viewer_close(&r);
	if (r.signal_w.fd >= 0)
		close(r.signal_w.fd);
	screen_client_close(&r.screen);
	return rc;
}

static int run(int argc, char **argv)
{
	struct record_config c = {.fps = 20};
	struct err e = {.code = 0};

	if (opts_parse(opts, &c, argc, argv, set_word, &e)) {
		log_err("record: %s", e.text);
		return CMD_USAGE;
	}
	if (c.common.help) {
		cmd_help_print(&cmd_record);
		return CMD_OK;
	}
	if (!c.file) {
		log_err("record: %s", c.name ? "into which file? 'husk record NAME FILE.fbs'"
					     : "which machine? 'husk record NAME FILE.fbs'; 'husk list' shows the names");
		return CMD_USAGE;
	}
	if (!strcmp(c.file, "-") && isatty(1)) {
		log_err("record: a terminal cannot show this: name a file, or lead the output to one");
		return CMD_USAGE;
	}
	if (record_to_file(&c, &e)) {
		log_err("%s", e.text);
		return CMD_FAILED;
	}
	return CMD_OK;
}

const struct cmd cmd_record = {
	"record", "NAME FILE.fbs|- [options]", "record what a machine's screen shows", run, opts,
	"The file is a session of RFB with times, in the format of rfbproxy (FBS 001.000); what is in it every\n"
	"viewer understands. Only what changes is written. The machine must have been started with --display vnc; no viewer\n"
	"needs to be connected.\n"
	"\n"
	"Examples:\n"
	"  husk record web boot.fbs              until Ctrl-C, or the machine's end\n"
	"  husk record web - --seconds 1m | gzip > boot.fbs.gz\n",
};
