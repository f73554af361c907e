/* SPDX-License-Identifier: MIT */
/* What devs.c and devs_open.c share. */
#ifndef CMD_DEVS_INT_H
#define CMD_DEVS_INT_H

#include "cmd/devs.h"

/* Another open file description of the image, as the lock belongs to that. The descriptor or -errno with words. */
int dev_image_again(const struct dev *d, struct err *e);
/* To a foreign back-end. The descriptor or -errno with words. */
int dev_connect(const struct dev *d, struct err *e);
/* Lets go of what devs_new() opened. */
void dev_close(struct dev *d);

#endif
