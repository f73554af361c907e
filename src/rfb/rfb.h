/* SPDX-License-Identifier: MIT */
/* Numbers of the RFB protocol (rfbproto.rst of the TigerVNC project), and the pixel format. */
#ifndef RFB_RFB_H
#define RFB_RFB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "display/surface.h"

enum rfb_security { RFB_SEC_INVALID = 0, RFB_SEC_NONE = 1, RFB_SEC_VNC_AUTH = 2, RFB_SEC_VENCRYPT = 19 };
enum rfb_vencrypt { RFB_VENC_TLS_NONE = 257, RFB_VENC_TLS_VNC = 258, RFB_VENC_TLS_PLAIN = 259, RFB_VENC_X509_NONE = 260,
	RFB_VENC_X509_VNC = 261, RFB_VENC_X509_PLAIN = 262 };

/* Encodings and pseudo-encodings */
enum rfb_encoding {
	RFB_RAW = 0, RFB_COPYRECT = 1, RFB_RRE = 2, RFB_HEXTILE = 5, RFB_ZLIB = 6, RFB_TIGHT = 7, RFB_ZRLE = 16,
	RFB_TIGHT_PNG = -260,
	RFB_JPEG_QUALITY_0 = -32, RFB_JPEG_QUALITY_9 = -23, RFB_COMPRESS_0 = -256, RFB_COMPRESS_9 = -247,
	RFB_DESKTOP_SIZE = -223, RFB_EXTENDED_DESKTOP_SIZE = -308, RFB_DESKTOP_NAME = -307, RFB_LAST_RECT = -224,
	RFB_CURSOR = -239, RFB_X_CURSOR = -240, RFB_CURSOR_WITH_ALPHA = -314, RFB_POINTER_MOTION_CHANGE = -257,
	RFB_QEMU_EXTENDED_KEY = -258, RFB_QEMU_LED_STATE = -261, RFB_VMWARE_LED_STATE = 0x574d5668, RFB_FENCE = -312,
	RFB_CONTINUOUS_UPDATES = -313, RFB_EXTENDED_MOUSE_BUTTONS = -316,
};
#define RFB_EXTENDED_CLIPBOARD ((int32_t)0xc0a1e5ce)

struct rfb_format { /* PIXEL_FORMAT without its padding (7.4 "PIXEL_FORMAT" in RFC 6143) */
	uint8_t bpp, depth;
	bool big_endian, true_colour;
	uint16_t rmax, gmax, bmax;
	uint8_t rshift, gshift, bshift;
};
enum { RFB_FORMAT_LEN = 16 };
extern const struct rfb_format rfb_format_native; /* XRGB8888, little-endian: what surfaces have */
void rfb_format_put(struct buf *b, const struct rfb_format *f);
/*
 * From the 16 bytes of a message. false: one that no server can serve: bpp not 8, 16 or 32; maxima 0, not 2^n - 1, or not
 * fitting; channels that overlap. true_colour 0 is fine (8 bits only): the server sends a colour map, rfb_colour_map().
 */
bool rfb_format_get(struct rfb_format *f, const uint8_t p[RFB_FORMAT_LEN]);
bool rfb_format_same(const struct rfb_format *a, const struct rfb_format *b);
/* The SetColourMapEntries message for a client without true colour; f becomes the true-colour format it stands for. */
void rfb_colour_map(struct rfb_format *f, struct buf *out);
/* CPIXEL of ZRLE and TPIXEL of Tight: bytes per pixel, 3 where a 32-bit format allows it */
unsigned rfb_cpixel(const struct rfb_format *f);  /* ZRLE: least or most significant 3 bytes */
unsigned rfb_tpixel(const struct rfb_format *f);  /* Tight: 3 (R, G, B bytes) if all maxima are 255 and depth 24 at 32 bpp */
/*
 * A channel's v of 0 to 255 becomes v * max / 255, rounded to the nearest (v * max + 127, divided without rest): 0 stays 0,
 * 255 becomes max, and with max 255 nothing changes. Bits of a pixel that belong to no channel are 0, whatever the
 * surface has in its top byte.
 */
uint32_t rfb_pixel(const struct rfb_format *f, uint32_t xrgb); /* the value, before byte order */
void rfb_pixels(const struct rfb_format *f, uint32_t *dst, const uint32_t *src, unsigned n); /* of n; dst may be src */
/* n pixels of a surface into the format, at dst; bytes used are n * bpp / 8. */
void rfb_translate(const struct rfb_format *f, uint8_t *dst, const uint32_t *src, unsigned n);
/* Values in their byte order; bytes used by each: bpp / 8, and rfb_cpixel() */
void rfb_pixels_put(const struct rfb_format *f, uint8_t *dst, const uint32_t *value, unsigned n);
unsigned rfb_pixel_put(const struct rfb_format *f, uint8_t *dst, uint32_t value);
unsigned rfb_cpixel_put(const struct rfb_format *f, uint8_t *dst, uint32_t value);
void rfb_cpixels_put(const struct rfb_format *f, uint8_t *dst, const uint32_t *value, unsigned n);

#endif
