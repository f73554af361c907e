/* SPDX-License-Identifier: MIT */
/*
 * The back-end's side of vhost-user: drives one virtio device for whoever is at the other end of a socket, husk-vmm or
 * another program's front-end. Maps guest RAM from the descriptors it is given, keeps the in-flight record, the
 * dirty log, and the front-end's translated code (proto.h, VHOST_BACK_CODE).
 *
 * One thread, the loop's. After new() nothing is opened and no thread is made: a sandbox needs recvmsg, sendmsg, poll, mmap
 * (shared, not executable), munmap, newfstatat (fstat), dup3, close, read, write, epoll_ctl, and what libc needs for
 * memory, locks and clocks. The process ignores SIGPIPE: what a front-end gives as an eventfd may be anything.
 */
#ifndef VHOST_SERVE_H
#define VHOST_SERVE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "virtio/virtio.h"

struct vhost_server;

/* Most descriptors it may hold at once beyond those open after new(): for the sandbox's limit */
unsigned vhost_server_fds(const struct virtio_dev *dev);

/*
 * Takes sock (a connected stream). dev is borrowed; its config_changed is set. gone: the front-end hung up (why is NULL)
 * or said what cannot be (why has words); all queues are stopped by then, and it is called once. The socket is closed.
 */
int vhost_server_new(struct vhost_server **s, struct loop *l, int sock, struct virtio_dev *dev,
	void (*gone)(void *arg, const struct err *why), void *arg, struct err *e);
/* Another front-end after the last one has gone (a listening program). Takes sock. 0 or -errno. */
int vhost_server_again(struct vhost_server *s, int sock);
void vhost_server_free(struct vhost_server *s);

/* "queue0.requests 17" and the like, summed and per queue; bytes written, cut at len. */
size_t vhost_server_stats(const struct vhost_server *s, char *buf, size_t len);

#endif
