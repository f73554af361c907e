/* SPDX-License-Identifier: MIT */
/*
 * TLS by GnuTLS, on top of any stream. GnuTLS calls pull() and push(), which never wait, and gives up with GNUTLS_E_AGAIN; it
 * then says whether it was for reading or for writing, and goes on where it was when it is called again.
 *
 * Two kinds of session that share nothing: with a certificate, TLS 1.2 and 1.3 with forward secrecy; or anonymous Diffie-Hellman,
 * which exists up to TLS 1.2 only. A session of the first kind never accepts the second, or whoever is in the middle could take
 * the certificate out. No tickets, no resumption: a session leaves nothing behind. Who wants to renegotiate is disconnected.
 *
 * What GnuTLS reads of the system (its configuration, CPU features, the first random numbers) it reads when it is loaded and in
 * rfb_tls_new(). After that a session makes no system calls but those of the stream below, getrandom(), and libc's for memory,
 * locks and time.
 */
#include <assert.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "rfb/stream.h"

#define PRIORITY_X509 "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:%SERVER_PRECEDENCE"
#define PRIORITY_ANON "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ANON-ECDH:+ANON-DH"
/* A client's hello with all its extensions has some hundred bytes. */
enum { HANDSHAKE_MAX = 32 << 10, PEM_MAX = 1 << 20, WARNINGS = 4 };

struct rfb_tls {
	bool global;
	gnutls_certificate_credentials_t cert; /* NULL: none */
	gnutls_anon_server_credentials_t anon; /* NULL: not allowed */
	gnutls_priority_t cert_priority, anon_priority;
};

struct tls_stream {
	struct rfb_stream s;
	struct rfb_stream *under;
	gnutls_session_t session;
	uint8_t *early; /* of the peer's, read before there was TLS */
	size_t early_at, early_len;
	size_t pending; /* bytes of the last write() that GnuTLS has, but could not send */
	bool done, broken, writing; /* handshake is over; no use any more; what is tried waits for the socket to take bytes */
};

static struct tls_stream *tls_of(struct rfb_stream *s);

/* ---- between GnuTLS and the stream under it ---- */

static ssize_t pushed(struct tls_stream *t, ssize_t n)
{
	if (n >= 0)
		return n;
	gnutls_transport_set_errno(t->session, (int)-n);
	return -1;
}

static ssize_t pull(gnutls_transport_ptr_t arg, void *buf, size_t n)
{
	struct tls_stream *t = arg;

	if (t->early_at < t->early_len) {
		n = min_u64(n, t->early_len - t->early_at);
		memcpy(buf, t->early + t->early_at, n);
		t->early_at += n;
		return (ssize_t)n;
	}
	return pushed(t, t->under->ops->read(t->under, buf, n));
}

static ssize_t push(gnutls_transport_ptr_t arg, const void *buf, size_t n)
{
	struct tls_stream *t = arg;

	return pushed(t, t->under->ops->write(t->under, buf, n));
}

/* "There may be something": pull() is to be tried, it does not wait. */
static int pull_timeout(gnutls_transport_ptr_t arg, unsigned ms)
{
	(void)arg;
	(void)ms;
	return 1;
}

/* -errno of what GnuTLS says */
static int outcome(struct tls_stream *t, ssize_t rc)
{
	if (rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED) {
		t->writing = gnutls_record_get_direction(t->session);
		return -EAGAIN;
	}
	t->writing = false;
	t->broken = true;
	switch (rc) {
	case GNUTLS_E_PULL_ERROR:
	case GNUTLS_E_PUSH_ERROR:
	case GNUTLS_E_PREMATURE_TERMINATION:
		return -ECONNRESET;
	case GNUTLS_E_MEMORY_ERROR:
		return -ENOMEM;
	default:
		return -EPROTO;
	}
}

/* ---- the stream ---- */

static ssize_t tls_read(struct rfb_stream *s, void *buf, size_t n)
{
	struct tls_stream *t = tls_of(s);
	ssize_t rc;

	if (t->broken || !t->done)
		return -EPIPE;
	if (!n)
		return 0;
	rc = gnutls_record_recv(t->session, buf, n);
	if (rc < 0)
		return outcome(t, rc);
	t->writing = false;
	return rc;
}

static ssize_t tls_write(struct rfb_stream *s, const void *buf, size_t n)
{
	struct tls_stream *t = tls_of(s);
	const uint8_t *p = buf;
	size_t sent = 0;

	if (t->broken || !t->done)
		return -EPIPE;
	assert(n >= t->pending);
	while (sent < n) {
		/* with something pending this sends that, and does not look at p */
		ssize_t rc = gnutls_record_send(t->session, p + sent, n - sent);

		if (rc < 0) {
			bool writing = t->writing;
			int err = outcome(t, rc);

			t->writing = writing; /* the caller knows that a write waits; it is read() that is asked about */
			if (err == -EAGAIN && !t->pending)
				t->pending = min_u64(n - sent, gnutls_record_get_max_size(t->session));
			return sent ? (ssize_t)sent : err;
		}
		t->pending = 0;
		sent += (size_t)rc;
	}
	return (ssize_t)sent;
}

static bool tls_buffered(const struct rfb_stream *s)
{
	const struct tls_stream *t = (const struct tls_stream *)(const void *)s;

	return !t->broken && (t->early_at < t->early_len || gnutls_record_check_pending(t->session) ||
		t->under->ops->buffered(t->under));
}

static bool tls_wants_write(const struct rfb_stream *s)
{
	const struct tls_stream *t = (const struct tls_stream *)(const void *)s;

	return t->writing || t->under->ops->wants_write(t->under);
}

static void tls_close(struct rfb_stream *s)
{
	struct tls_stream *t = tls_of(s);

	/* "the end", if the socket takes it */
	if (t->done && !t->broken && !t->pending)
		(void)gnutls_bye(t->session, GNUTLS_SHUT_WR);
	if (t->session)
		gnutls_deinit(t->session);
	t->under->ops->close(t->under);
	free(t->early);
	free(t);
}

static const struct rfb_stream_ops tls_ops = {
	.read = tls_read,
	.write = tls_write,
	.buffered = tls_buffered,
	.wants_write = tls_wants_write,
	.close = tls_close,
};

static struct tls_stream *tls_of(struct rfb_stream *s)
{
	assert(s->ops == &tls_ops);
	return (struct tls_stream *)(void *)s;
}

static int session_setup(struct tls_stream *t, struct rfb_tls *tls, bool x509)
{
	int rc = gnutls_init(&t->session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS);

	if (rc)
		return rc;
	rc = gnutls_priority_set(t->session, x509 ? tls->cert_priority : tls->anon_priority);
	if (!rc)
		rc = x509 ? gnutls_credentials_set(t->session, GNUTLS_CRD_CERTIFICATE, tls->cert) :
			gnutls_credentials_set(t->session, GNUTLS_CRD_ANON, tls->anon);
	gnutls_certificate_server_set_request(t->session, GNUTLS_CERT_IGNORE);
	gnutls_handshake_set_max_packet_length(t->session, HANDSHAKE_MAX);
	gnutls_transport_set_ptr(t->session, t);
	gnutls_transport_set_pull_function(t->session, pull);
	gnutls_transport_set_push_function(t->session, push);
	gnutls_transport_set_pull_timeout_function(t->session, pull_timeout);
	return rc;
}

struct rfb_stream *rfb_stream_tls(struct rfb_tls *tls, struct rfb_stream *under, bool x509, const void *early, size_t n)
{
	struct tls_stream *t = calloc(1, sizeof *t);

	assert(x509 ? tls->cert != NULL : tls->anon != NULL);
	if (!t) {
		under->ops->close(under);
		return NULL;
	}
	t->s = (struct rfb_stream){.ops = &tls_ops, .fd = under->fd};
	t->under = under;
	if (n) {
		t->early = malloc(n);
		if (t->early)
			memcpy(t->early, early, n);
		t->early_len = t->early ? n : 0;
	}
	if (session_setup(t, tls, x509) || t->early_len != n) {
		tls_close(&t->s);
		return NULL;
	}
	return &t->s;
}

int rfb_stream_tls_shake(struct rfb_stream *s)
{
	struct tls_stream *t = tls_of(s);
	int rc = GNUTLS_E_WARNING_ALERT_RECEIVED;

	if (t->done)
		return 0;
	if (t->broken)
		return -EPIPE;
	for (unsigned i = 0; i < WARNINGS && rc == GNUTLS_E_WARNING_ALERT_RECEIVED; i++)
		rc = gnutls_handshake(t->session);
	if (rc < 0) {
		int err = outcome(t, rc);

		if (err != -EAGAIN)
			(void)gnutls_alert_send_appropriate(t->session, rc);
		return err;
	}
	t->done = true;
	t->writing = false;
	return 0;
}

/* ---- credentials ---- */

/* All of a file of the user's that is small, or should be. */
static int pem_read(int fd, const char *what, gnutls_datum_t *d, struct err *e)
{
	size_t len = 0;
	ssize_t n;

	d->data = malloc(PEM_MAX + 1);
	if (!d->data)
		return err_set(e, ENOMEM, "no memory for the TLS %s", what);
	do {
		n = read(fd, d->data + len, PEM_MAX + 1 - len);
		if (n > 0)
			len += (size_t)n;
	} while ((n > 0 && len <= PEM_MAX) || (n < 0 && errno == EINTR));
	d->size = (unsigned)len;
	if (n < 0)
		return err_set(e, errno, "cannot read the TLS %s: %s", what, strerror(errno));
	if (len > PEM_MAX)
		return err_set(e, EFBIG, "the TLS %s is larger than %d bytes: not a PEM file?", what, PEM_MAX);
	return 0;
}

static void pem_free(gnutls_datum_t *d)
{
	if (d->data)
		explicit_bzero(d->data, PEM_MAX + 1);
	free(d->data);
}

static int cert_load(struct rfb_tls *t, int cert_fd, int key_fd, struct err *e)
{
	gnutls_datum_t cert = {NULL, 0}, key = {NULL, 0};
	int rc, err = pem_read(cert_fd, "certificate", &cert, e);

	if (!err)
		err = pem_read(key_fd, "key", &key, e);
	if (!err && gnutls_certificate_allocate_credentials(&t->cert))
		err = err_set(e, ENOMEM, "no memory for TLS");
	if (!err) {
		rc = gnutls_certificate_set_x509_key_mem(t->cert, &cert, &key, GNUTLS_X509_FMT_PEM);
		if (rc == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
			err = err_set(e, EINVAL, "the TLS key is not that of the certificate");
		else if (rc < 0)
			err = err_set(e, EINVAL, "cannot use the TLS certificate and key: %s", gnutls_strerror(rc));
	}
	pem_free(&cert);
	pem_free(&key);
	return err;
}

static int anon_load(struct rfb_tls *t, struct err *e)
{
	int rc = gnutls_anon_allocate_server_credentials(&t->anon);

	if (!rc)
		rc = gnutls_anon_set_server_known_dh_params(t->anon, GNUTLS_SEC_PARAM_MEDIUM);
	return rc ? err_set(e, ENOMEM, "cannot set up anonymous TLS: %s", gnutls_strerror(rc)) : 0;
}

int rfb_tls_new(struct rfb_tls **out, int cert_fd, int key_fd, bool anonymous, struct err *e)
{
	struct rfb_tls *t = calloc(1, sizeof *t);
	int err = 0, rc;

	if (!t)
		return err_set(e, ENOMEM, "no memory for TLS");
	if ((cert_fd < 0) != (key_fd < 0))
		err = err_set(e, EINVAL, "TLS needs a certificate and its key, both");
	else if (cert_fd < 0 && !anonymous)
		err = err_set(e, EINVAL, "TLS needs a certificate, or to be allowed without");
	rc = err ? 0 : gnutls_global_init();
	t->global = !err && !rc;
	if (!err && !rc)
		rc = gnutls_priority_init(&t->cert_priority, PRIORITY_X509, NULL);
	if (!err && !rc)
		rc = gnutls_priority_init(&t->anon_priority, PRIORITY_ANON, NULL);
	if (rc)
		err = err_set(e, EIO, "cannot set up TLS: %s", gnutls_strerror(rc));
	if (!err && cert_fd >= 0)
		err = cert_load(t, cert_fd, key_fd, e);
	if (!err && anonymous)
		err = anon_load(t, e);
	if (err) {
		rfb_tls_free(t);
		return err;
	}
	*out = t;
	return 0;
}

void rfb_tls_free(struct rfb_tls *t)
{
	if (!t)
		return;
	if (t->cert)
		gnutls_certificate_free_credentials(t->cert);
	if (t->anon)
		gnutls_anon_free_server_credentials(t->anon);
	if (t->cert_priority)
		gnutls_priority_deinit(t->cert_priority);
	if (t->anon_priority)
		gnutls_priority_deinit(t->anon_priority);
	if (t->global)
		gnutls_global_deinit();
	free(t);
}

bool rfb_tls_has_cert(const struct rfb_tls *t)
{
	return t->cert != NULL;
}
