/* SPDX-License-Identifier: MIT */
/* Tight as libvncclient understands it. The server's bytes do not depend on what the client says: a thread writes them. */
#undef NDEBUG
#include <assert.h>
#include <pthread.h>
#include <rfb/rfbclient.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <turbojpeg.h>
#include <unistd.h>

#include "pictures.h"
#include "rfb/encode.h"

enum { W = 500, H = 300 };

struct server {
	struct buf out;
	int fd;
};

static void *serve(void *arg)
{
	struct server *s = arg;

	for (size_t at = 0; at < s->out.len;) {
		ssize_t n = write(s->fd, s->out.p + at, s->out.len - at);

		if (n <= 0)
			break;
		at += (size_t)n;
	}
	return NULL;
}

static void quiet(const char *format, ...)
{
	(void)format;
}

static void hello(struct buf *out, const struct rfb_format *f)
{
	buf_put(out, "RFB 003.008\n", 12);
	buf_put(out, "\1\1", 2); /* security types: none */
	buf_be32(out, 0);
	buf_be16(out, W);
	buf_be16(out, H);
	rfb_format_put(out, f);
	buf_be32(out, 1);
	buf_put(out, "x", 1);
}

static void update(struct buf *out, struct rfb_encoder *enc, const struct rfb_params *p, const struct surface *s, struct rect r)
{
	size_t mark = out->len;
	pixman_region32_t lossy;
	int n;

	pixman_region32_init(&lossy);
	buf_be32(out, 0); /* FramebufferUpdate, padding, how many */
	n = rfb_tight.encode(enc, p, s, r, out, &lossy);
	assert(n > 0 && (p->quality >= 0 || !pixman_region32_not_empty(&lossy)));
	out->p[mark + 2] = (uint8_t)(n >> 8);
	out->p[mark + 3] = (uint8_t)n;
	pixman_region32_fini(&lossy);
}

/* What was sent: each picture with loss and without */
struct step {
	enum picture picture;
	struct rect r;
	bool lossless;
};

static void check(const rfbClient *c, const struct rfb_format *f, const struct surface *s, struct rect r)
{
	for (uint32_t y = r.y; y < r.y + r.h; y++)
		for (uint32_t x = r.x; x < r.x + r.w; x++) {
			const uint8_t *at = c->frameBuffer + ((size_t)y * W + x) * (f->bpp / 8);
			uint32_t v = f->bpp == 8 ? *at : f->bpp == 16 ? get_u16(at) : get_u32(at);

			assert(v == rfb_pixel(f, *surface_row(s, x, y)));
		}
}

static void session(const struct rfb_format *f)
{
	struct rfb_params p = {.format = *f, .level = 2, .quality = -1, .tight = RFB_TIGHT, .gradient = true};
	struct rfb_encoder *enc = rfb_tight.open();
	struct surface s = {W, H, W * 4, calloc(H, W * 4)};
	struct server srv = {.out = {0}};
	struct step step[2 * PICTURES];
	rfbClient *c = rfbGetClient(8, 3, 4);
	pthread_t thread;
	int fd[2];

	assert(enc && s.px && c && !socketpair(AF_UNIX, SOCK_STREAM, 0, fd));
	hello(&srv.out, f);
	for (unsigned i = 0; i < 2 * PICTURES; i++) {
		step[i] = (struct step){i / 2, {pic_random() % 40, pic_random() % 40, W - 40 - pic_random() % 40, H - 40 - pic_random() % 40},
			i % 2};
		if (i % 5 == 4)
			rfb_tight.restart(enc);
		p.quality = step[i].lossless ? -1 : 8;
		pic_seed(i);
		pic_paint(&s, step[i].picture);
		update(&srv.out, enc, &p, &s, step[i].r);
	}
	srv.fd = fd[0];
	assert(!pthread_create(&thread, NULL, serve, &srv));

	rfbClientLog = rfbClientErr = quiet;
	c->sock = fd[1];
	c->appData.encodingsString = "tight";
	c->format.bitsPerPixel = f->bpp;
	c->format.depth = f->depth;
	c->format.redMax = f->rmax;
	c->format.greenMax = f->gmax;
	c->format.blueMax = f->bmax;
	c->format.redShift = f->rshift;
	c->format.greenShift = f->gshift;
	c->format.blueShift = f->bshift;
	assert(InitialiseRFBConnection(c));
	c->width = c->si.framebufferWidth;
	c->height = c->si.framebufferHeight;
	assert(c->MallocFrameBuffer(c) && SetFormatAndEncodings(c));
	for (unsigned i = 0; i < 2 * PICTURES; i++) {
		assert(WaitForMessage(c, 5000000) > 0 && HandleRFBServerMessage(c));
		if (!step[i].lossless)
			continue;
		pic_seed(i);
		pic_paint(&s, step[i].picture);
		check(c, f, &s, step[i].r);
	}
	pthread_join(thread, NULL);
	free(c->frameBuffer);
	c->frameBuffer = NULL;
	if (c->tjhnd) /* the library forgets it */
		tjDestroy(c->tjhnd);
	rfbClientCleanup(c); /* closes its socket */
	close(fd[0]);
	buf_fini(&srv.out);
	rfb_tight.close(enc);
	free(s.px);
}

int main(void)
{
	for (unsigned i = 0; i < PIC_FORMATS; i++)
		if (!pic_format[i].big_endian && pic_format[i].rmax <= 255)
			session(&pic_format[i]);
	return 0;
}
