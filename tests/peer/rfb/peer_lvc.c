/* SPDX-License-Identifier: MIT */
/* A viewer on libvncclient; ENCODINGS are its own words, with spaces. See peer.h. */
#include <poll.h>
#include <rfb/rfbclient.h>

#include "peer.h"

int main(int argc, char **argv)
{
	const struct peer_format *f;
	rfbClient *c;

	if (argc != 4)
		return 2;
	f = peer_format(argv[3]);
	c = rfbGetClient(8, 3, f->bpp / 8);
	c->format.depth = (uint8_t)f->depth;
	c->format.bigEndian = (uint8_t)f->big;
	c->format.redMax = (uint16_t)f->rmax;
	c->format.greenMax = (uint16_t)f->gmax;
	c->format.blueMax = (uint16_t)f->bmax;
	c->format.redShift = (uint8_t)f->rshift;
	c->format.greenShift = (uint8_t)f->gshift;
	c->format.blueShift = (uint8_t)f->bshift;
	c->appData.encodingsString = argv[2];
	c->appData.enableJPEG = FALSE;
	c->appData.compressLevel = 2;
	c->canHandleNewFBSize = TRUE;
	c->serverHost = strdup(argv[1]);
	if (!rfbInitClient(c, NULL, NULL)) /* frees it */
		return 1;
	for (;;) {
		struct pollfd w[2] = {{c->sock, POLLIN, 0}, {0, POLLIN, 0}};

		if (!c->buffered && poll(w, 2, -1) < 0)
			return 1;
		if ((c->buffered || w[0].revents) && !HandleRFBServerMessage(c))
			return 1;
		if (!w[1].revents)
			continue;
		if (!peer_asked())
			break;
		peer_show((unsigned)c->width, (unsigned)c->height, (unsigned)f->bpp / 8, c->frameBuffer);
	}
	rfbClientCleanup(c);
	return 0;
}
