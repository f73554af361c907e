/* SPDX-License-Identifier: MIT */
/* What devs.c, devs_kinds.c, devs_open.c and devs_log.c share. */
#ifndef CMD_DEVS_INT_H
#define CMD_DEVS_INT_H

#include "cmd/devs.h"

/*
 * devs_kinds.c. word: behind --vhost of husk-vmm; NULL: husk-vmm knows nothing of it. args: adds the words of its program; *own,
 * -1 before, is a descriptor among them that is closed here once the process has it. option: dev_option().
 */
struct dev_kind {
	const char *name, *program, *word;
	int (*args)(struct dev *d, struct child_args *a, bool restart, int *own, struct err *e);
	void (*option)(const struct dev *d, char *buf, size_t len);
};
extern const struct dev_kind dev_kinds[DEV_KINDS];
/* Words and descriptor of a device with a line for husk-vmm. */
void dev_vhost_arg(struct dev *d, struct child_args *a);

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
