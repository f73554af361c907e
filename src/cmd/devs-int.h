/* SPDX-License-Identifier: MIT */
/* What devs.c, devs_open.c and devs_log.c share. */
#ifndef CMD_DEVS_INT_H
#define CMD_DEVS_INT_H

#include "cmd/devs.h"

/* Another open file description of the image, as the lock belongs to that. The descriptor or -errno with words. */
int dev_image_again(const struct dev *d, struct err *e);
/* To a foreign back-end. The descriptor or -errno with words. */
int dev_connect(const struct dev *d, struct err *e);
/* Lets go of what devs_new() opened. */
void dev_close(struct dev *d);

/* devs_log.c. A line of ours about the device, without its end: */
void dev_say(struct dev *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Some of what its process logged. False when there is no more now, or ever. */
bool dev_log_read(struct dev *d);
void dev_log_ready(struct watch *w, uint32_t events); /* of log_w */
void dev_log_fire(struct timer *t);                   /* of hidden_timer */
void dev_log_tell(struct dev *d);                     /* how many lines were not shown, if any */

#endif
