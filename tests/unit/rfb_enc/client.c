/* SPDX-License-Identifier: MIT */
/*
 * What libvncclient makes of our rectangles is what the reference decoder makes of them: every encoder, 32, 16 and 8 bits, on one
 * connection each. The server's bytes are written by a thread; what the client says is not read (it fits into the socket).
 */
#undef NDEBUG
#include <assert.h>
#include <pthread.h>
#include <rfb/rfbclient.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pictures.h"
#include "rfb/encode.h"

enum { W = 300, H = 200, UPDATES = 24 };

struct server {
	int fd;
	struct buf bytes;
};

static void *serve(void *arg)
{
	struct server *s = arg;

	for (size_t at = 0; at < s->bytes.len;) {
		ssize_t n = write(s->fd, s->bytes.p + at, s->bytes.len - at);

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

static void handshake(struct buf *b)
{
	buf_put(b, "RFB 003.008\n", 12);
	buf_put(b, "\1\1", 2);          /* None */
	buf_be32(b, 0);                 /* passed */
	buf_be16(b, W);
	buf_be16(b, H);
	rfb_format_put(b, &rfb_format_native);
	buf_be32(b, 4);
	buf_put(b, "test", 4);
}

static struct rect some_rect(uint32_t *seed)
{
	struct rect r;

	*seed = *seed * 1103515245u + 12345;
	r.x = (*seed >> 8) % (W - 80);
	r.y = (*seed >> 18) % (H - 80);
	*seed = *seed * 1103515245u + 12345;
	r.w = 1 + (*seed >> 8) % (W - r.x);
	r.h = 1 + (*seed >> 18) % (H - r.y);
	return *seed & 64 ? r : (struct rect){0, 0, W, H};
}

/* Updates into b, and into expect what the whole picture is afterwards, in the client's bytes */
static void updates(const struct rfb_encoder_ops *ops, const struct rfb_format *f, struct buf *b, uint8_t *expect)
{
	struct rfb_params p = {.format = *f, .level = -1, .quality = -1, .tight = RFB_TIGHT};
	struct surface s = {W, H, W * 4, calloc(W * H, 4)};
	struct rfb_encoder *enc = ops->open();
	uint32_t seed = 7;
	pixman_region32_t lossy;

	pixman_region32_init(&lossy);
	assert(s.px && enc);
	for (unsigned i = 0; i < UPDATES; i++) {
		struct rect r = i ? some_rect(&seed) : (struct rect){0, 0, W, H};
		size_t at = b->len;
		int n;

		picture_draw(&s, r, i % PICTURES, 1 + i * 3, i);
		buf_be32(b, 0);
		n = ops->encode(enc, &p, &s, r, b, &lossy);
		assert(n > 0 && n < 65535 && !b->failed);
		b->p[at + 2] = (uint8_t)(n >> 8);
		b->p[at + 3] = (uint8_t)n;
	}
	for (unsigned y = 0; y < H; y++)
		rfb_translate(f, expect + (size_t)y * W * (f->bpp / 8u), surface_row(&s, 0, y), W);
	pixman_region32_fini(&lossy);
	ops->close(enc);
	free(s.px);
}

static void compare(const struct rfb_encoder_ops *ops, const struct rfb_format *f)
{
	unsigned bytes = f->bpp / 8u;
	uint32_t used = (uint32_t)f->rmax << f->rshift | (uint32_t)f->gmax << f->gshift | (uint32_t)f->bmax << f->bshift;
	uint8_t *expect = malloc(W * H * 4);
	struct server s = {0};
	rfbClient *c = rfbGetClient(bytes == 1 ? 2 : bytes == 2 ? 5 : 8, 3, (int)bytes);
	pthread_t thread;
	int sv[2];

	assert(c && expect && !socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv));
	s.fd = sv[0];
	handshake(&s.bytes);
	updates(ops, f, &s.bytes, expect);
	assert(!pthread_create(&thread, NULL, serve, &s));
	c->sock = sv[1];
	c->format = (rfbPixelFormat){.bitsPerPixel = f->bpp, .depth = f->depth, .bigEndian = f->big_endian, .trueColour = 1,
		.redMax = f->rmax, .greenMax = f->gmax, .blueMax = f->bmax, .redShift = f->rshift, .greenShift = f->gshift,
		.blueShift = f->bshift};
	assert(InitialiseRFBConnection(c));
	c->width = c->si.framebufferWidth;
	c->height = c->si.framebufferHeight;
	assert(c->MallocFrameBuffer(c) && SetFormatAndEncodings(c));
	for (unsigned i = 0; i < UPDATES; i++)
		if (!HandleRFBServerMessage(c)) {
			fprintf(stderr, "%s, %u bits: update %u\n", ops->name, f->bpp, i);
			abort();
		}
	for (unsigned i = 0; i < W * H; i++) {
		uint32_t got = 0, want = 0;

		/* Bits of no channel are the client's own (it reads CPIXELs as words). */
		memcpy(&got, c->frameBuffer + (size_t)i * bytes, bytes);
		memcpy(&want, expect + (size_t)i * bytes, bytes);
		if ((got & used) != want) {
			fprintf(stderr, "%s, %u bits, red at %u: pixel %u,%u is %#x, not %#x\n", ops->name, f->bpp, f->rshift, i % W, i / W,
				got, want);
			abort();
		}
	}
	shutdown(sv[0], SHUT_RDWR);
	pthread_join(thread, NULL);
	close(sv[0]);
	free(c->frameBuffer);
	c->frameBuffer = NULL;
	rfbClientCleanup(c); /* closes sv[1] */
	buf_fini(&s.bytes);
	free(expect);
}

int main(void)
{
	static const struct rfb_encoder_ops *const encoders[] = {&rfb_raw, &rfb_rre, &rfb_hextile, &rfb_zlib, &rfb_zrle};
	static const struct rfb_format formats[] = {
		{32, 24, false, true, 255, 255, 255, 16, 8, 0},
		{32, 24, false, true, 255, 255, 255, 24, 16, 8}, /* CPIXEL: the upper bytes */
		{32, 32, false, true, 255, 255, 255, 0, 8, 16},  /* all four */
		{16, 16, false, true, 31, 63, 31, 11, 5, 0},
		{8, 8, false, true, 7, 7, 3, 0, 3, 6},
	};

	rfbClientLog = rfbClientErr = quiet;
	alarm(60);
	for (unsigned i = 0; i < ARRAY_LEN(encoders); i++)
		for (unsigned k = 0; k < ARRAY_LEN(formats); k++)
			if (encoders[i] != &rfb_zrle || formats[k].depth != 32) /* it does not look at the depth for CPIXELs */
				compare(encoders[i], &formats[k]);
	puts("ok");
	return 0;
}
