/* SPDX-License-Identifier: MIT */
#include "decode.h"

ssize_t rfb_decode_tight(struct rfb_decoder *d, struct rect r, const uint8_t *p, size_t n, bool png)
{
	(void)r;
	(void)p;
	(void)n;
	(void)png;
	return rfb_decode_fail(d, "Tight is not there yet");
}
