/* SPDX-License-Identifier: MIT */
/*
 * What a connection talks over: a socket (TCP, Unix), or TLS on top of one. The connection cannot tell which. Non-blocking,
 * one thread.
 */
#ifndef RFB_STREAM_H
#define RFB_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

struct rfb_stream;
struct rfb_stream_ops {
	/* Bytes; 0: the peer has ended it in order; -EAGAIN; another -errno: broken */
	ssize_t (*read)(struct rfb_stream *s, void *buf, size_t n);
	/* Bytes, maybe fewer; -EAGAIN; -errno. After -EAGAIN the next write begins with the same bytes, and is not shorter */
	ssize_t (*write)(struct rfb_stream *s, const void *buf, size_t n);
	bool (*buffered)(const struct rfb_stream *s); /* read() has something that epoll does not know of */
	bool (*wants_write)(const struct rfb_stream *s); /* even read() waits until the socket takes bytes */
	void (*close)(struct rfb_stream *s); /* frees it and closes the descriptor */
};
struct rfb_stream { /* embedded first */
	const struct rfb_stream_ops *ops;
	int fd; /* for epoll */
};

/* Takes fd, a connected stream socket, blocking or not; makes TCP prompt (no delay). NULL: no memory (fd is closed). */
struct rfb_stream *rfb_stream_socket(int fd);

/*
 * TLS by GnuTLS. Credentials are made before the sandbox, of files that are open already; certificates and keys are checked
 * here, so that a wrong one is an error at start.
 */
struct rfb_tls;
/* cert_fd, key_fd: PEM; both -1: none, anonymous only. anonymous: allow it, too. */
int rfb_tls_new(struct rfb_tls **t, int cert_fd, int key_fd, bool anonymous, struct err *e);
void rfb_tls_free(struct rfb_tls *t);
bool rfb_tls_has_cert(const struct rfb_tls *t);
/*
 * Wraps under, which it takes, also on failure. x509: with the certificate, which t must have; else anonymous Diffie-Hellman,
 * which it must allow. What of the peer's bytes was read already is early[0, n). NULL: no memory. The handshake is done by rfb_stream_tls_shake().
 */
struct rfb_stream *rfb_stream_tls(struct rfb_tls *t, struct rfb_stream *under, bool x509, const void *early, size_t n);
int rfb_stream_tls_shake(struct rfb_stream *s); /* 0: done; -EAGAIN: when readable (or wants_write()) again; -errno: failed */

#endif
