/* SPDX-License-Identifier: MIT */
/*
 * The beginning of a connection: version, security, up to (not with) ClientInit. A state machine without I/O: bytes in, bytes
 * out. The type that a client chooses is looked up in the list that it was offered, in every version. RFC 6143 7.1, VeNCrypt.
 */
#ifndef RFB_AUTH_H
#define RFB_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

/*
 * What one listening socket offers. Without a password: None, in the clear unless tls_required, and inside TLS. With one: VNC
 * authentication if vnc is set, in the clear unless tls_required, and inside TLS; and Plain, inside TLS only. What contradicts
 * itself, or lets nobody in, is refused by rfb_auth_check().
 */
struct rfb_auth_config {
	bool none;               /* no password */
	bool vnc;                /* VNC authentication with password */
	bool tls_anonymous;      /* VeNCrypt TLS* */
	bool tls_x509;           /* VeNCrypt X509* */
	bool tls_required;       /* not without */
	const char *password;    /* of vnc (8 bytes count), and of Plain with any user name; borrowed; NULL: none */
	const char *user;        /* of Plain; NULL: any */
};
int rfb_auth_check(const struct rfb_auth_config *c, struct err *e);

/*
 * Who failed too often is made to wait: kept per address, an IPv6 one by its /64. After the fifth failure 10 s, then twice as long
 * each time up to 5 minutes. Bounded, one thread. key: an address' bytes (in_addr, in6_addr), 1 to 16. now_ns comes from outside.
 * Unix sockets are not counted. To be asked when a connection begins, and again before it may guess: connections that were open
 * before would be guesses in parallel.
 */
struct rfb_blacklist;
struct rfb_blacklist *rfb_blacklist_new(void);
void rfb_blacklist_free(struct rfb_blacklist *b);
bool rfb_blacklist_blocked(struct rfb_blacklist *b, const void *key, size_t n, uint64_t now_ns);
void rfb_blacklist_failed(struct rfb_blacklist *b, const void *key, size_t n, uint64_t now_ns);
void rfb_blacklist_passed(struct rfb_blacklist *b, const void *key, size_t n);

enum rfb_auth_want {
	RFB_AUTH_MORE,      /* bytes */
	RFB_AUTH_TLS_ANON,  /* start TLS once what is in out was sent, then rfb_auth_secure() */
	RFB_AUTH_TLS_X509,
	RFB_AUTH_DONE,      /* ClientInit is next */
	RFB_AUTH_CLOSE,     /* send out, then close; why says it in words */
};
struct rfb_auth;
/* blocked: says "too many failures" to whoever it is. out gets the server's first bytes. NULL: no memory */
struct rfb_auth *rfb_auth_new(const struct rfb_auth_config *c, bool blocked, struct buf *out);
void rfb_auth_free(struct rfb_auth *a);
/*
 * Takes from p[0, n) what it can; how much is returned. *want says what is next; with RFB_AUTH_DONE and TLS bytes may be left
 * that are the next layer's (before TLS: whoever sends early is refused instead).
 */
size_t rfb_auth_input(struct rfb_auth *a, const uint8_t *p, size_t n, struct buf *out, enum rfb_auth_want *want);
void rfb_auth_secure(struct rfb_auth *a, struct buf *out, enum rfb_auth_want *want); /* TLS stands */
const char *rfb_auth_why(const struct rfb_auth *a);
bool rfb_auth_failed(const struct rfb_auth *a); /* a wrong password: for the blacklist */
bool rfb_auth_passed(const struct rfb_auth *a); /* a right one */
unsigned rfb_auth_version(const struct rfb_auth *a); /* 3, 7 or 8 */
const char *rfb_auth_name(const struct rfb_auth *a); /* "VeNCrypt X509Vnc", for the log */

/* The response of VNC authentication: DES of challenge[16] with the password's first 8 bytes. */
void rfb_vnc_response(const char *password, const uint8_t challenge[16], uint8_t response[16]);

#endif
