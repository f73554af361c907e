/* SPDX-License-Identifier: MIT */
/* A viewer on gtk-vnc's libgvnc, which needs no window; ENCODINGS are numbers with commas. It shows XRGB, whatever FORMAT is. See peer.h. */
#include <sys/socket.h>
#include <sys/un.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#include <gvnc.h>
#pragma GCC diagnostic pop

#include "peer.h"

static GMainLoop *loop;
static VncConnection *vnc;
static const struct peer_format *format;
static gint32 ids[32];
static int nids, status = 1;
static unsigned width, height;
static guint8 *pixels;

static VncPixelFormat format_of(const struct peer_format *f)
{
	VncPixelFormat p;

	memset(&p, 0, sizeof p);
	p.bits_per_pixel = (guint8)f->bpp;
	p.depth = (guint8)f->depth;
	p.byte_order = f->big ? G_BIG_ENDIAN : G_LITTLE_ENDIAN;
	p.true_color_flag = 1;
	p.red_max = (guint16)f->rmax;
	p.green_max = (guint16)f->gmax;
	p.blue_max = (guint16)f->bmax;
	p.red_shift = (guint8)f->rshift;
	p.green_shift = (guint8)f->gshift;
	p.blue_shift = (guint8)f->bshift;
	return p;
}

static void picture(int w, int h)
{
	VncPixelFormat mine = format_of(&peer_formats[0]);
	VncBaseFramebuffer *fb;

	g_free(pixels);
	width = (unsigned)w;
	height = (unsigned)h;
	pixels = g_malloc0((gsize)w * (gsize)h * 4);
	fb = vnc_base_framebuffer_new(pixels, (guint16)w, (guint16)h, w * 4, &mine, vnc_connection_get_pixel_format(vnc));
	vnc_connection_set_framebuffer(vnc, VNC_FRAMEBUFFER(fb));
	g_object_unref(fb);
}

static void ask(gboolean incremental)
{
	vnc_connection_framebuffer_update_request(vnc, incremental, 0, 0, (guint16)width, (guint16)height);
}

static void on_choose(VncConnection *c, GValueArray *types, gpointer data)
{
	(void)types, (void)data;
	vnc_connection_set_auth_type(c, VNC_CONNECTION_AUTH_NONE);
}

static void on_initialized(VncConnection *c, gpointer data)
{
	VncPixelFormat f = format_of(format);

	(void)data;
	vnc_connection_set_pixel_format(c, &f);
	vnc_connection_set_encodings(c, nids, ids);
	picture(vnc_connection_get_width(c), vnc_connection_get_height(c));
	ask(FALSE);
}

static void on_resize(VncConnection *c, int w, int h, gpointer data)
{
	(void)c, (void)data;
	picture(w, h);
	ask(FALSE);
}

static void on_update(VncConnection *c, int x, int y, int w, int h, gpointer data)
{
	(void)c, (void)x, (void)y, (void)w, (void)h, (void)data;
	ask(TRUE);
}

static void on_end(VncConnection *c, gpointer data)
{
	(void)c, (void)data;
	g_main_loop_quit(loop);
}

static gboolean on_word(GIOChannel *in, GIOCondition cond, gpointer data)
{
	(void)in, (void)cond, (void)data;
	if (peer_asked()) {
		peer_show(width, height, 4, pixels);
		return TRUE;
	}
	status = 0;
	g_main_loop_quit(loop);
	return FALSE;
}

int main(int argc, char **argv)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (argc != 4)
		return 2;
	for (char *t = strtok(argv[2], ","); t && nids < 32; t = strtok(NULL, ","))
		ids[nids++] = atoi(t);
	format = peer_format(argv[3]);
	snprintf(un.sun_path, sizeof un.sun_path, "%s", argv[1]);
	if (connect(fd, (struct sockaddr *)&un, sizeof un)) {
		perror(argv[1]);
		return 1;
	}
	loop = g_main_loop_new(NULL, FALSE);
	vnc = vnc_connection_new();
	g_signal_connect(vnc, "vnc-auth-choose-type", G_CALLBACK(on_choose), NULL);
	g_signal_connect(vnc, "vnc-initialized", G_CALLBACK(on_initialized), NULL);
	g_signal_connect(vnc, "vnc-desktop-resize", G_CALLBACK(on_resize), NULL);
	g_signal_connect(vnc, "vnc-framebuffer-update", G_CALLBACK(on_update), NULL);
	g_signal_connect(vnc, "vnc-error", G_CALLBACK(on_end), NULL);
	g_signal_connect(vnc, "vnc-disconnected", G_CALLBACK(on_end), NULL);
	vnc_connection_set_shared(vnc, TRUE);
	vnc_connection_open_fd(vnc, fd);
	g_io_add_watch(g_io_channel_unix_new(0), G_IO_IN | G_IO_HUP, on_word, NULL);
	g_main_loop_run(loop);
	return status;
}
