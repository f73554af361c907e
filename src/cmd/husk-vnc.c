/* SPDX-License-Identifier: MIT */
/*
 * The screen for viewers: VNC (RFB) on sockets that the supervisor listens on. Looks at scanouts (display/scanout.h), sends keys and
 * pointer to husk-vmm through the supervisor's line (display/input.h), and wishes for other sizes to husk-gpu. Holds no guest
 * memory. Keys, certificates and the keyboard's layout are read before the sandbox; nothing is opened afterwards.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "cmd/device.h"
#include "display/keys.h"
#include "rfb/server.h"

static const struct sandbox_syscall vnc_syscalls[] = {
	SANDBOX_THREADS,
	SANDBOX_ALLOW(SYS_accept4),
	SANDBOX_ALLOW(SYS_getpeername),
	SANDBOX_ALLOW(SYS_shutdown),
	SANDBOX_ALLOW_IF(SYS_setsockopt, 1, 0xffffffff, IPPROTO_TCP),
	SANDBOX_ALLOW_IF(SYS_fcntl, 1, 0xffffffff, F_GETFL),
	/* libc, before a thread's heap becomes smaller: /proc/sys/vm/overcommit_memory */
	SANDBOX_REFUSE_IF(SYS_openat, 2, 0xffffffff & ~(unsigned long)O_CLOEXEC, O_RDONLY, ENOENT),
	SANDBOX_END,
};
/* Pictures of many viewers: see rfb/view-int.h. Who finds no room is disconnected. */
static const size_t DATA_MAX_BYTES = (size_t)2 << 30;
enum { PASSWORD_MAX = 1024, QUEUE = 1024 };

enum { OPT_SCANOUT = DEVICE_OPT_OWN, OPT_EVENT, OPT_INPUT, OPT_RESIZE, OPT_NAME, OPT_LAYOUT, OPT_LISTEN, OPT_PASSWORD, OPT_CERT,
	OPT_KEY, OPT_ANONYMOUS, OPT_OPEN, OPT_VIEW_ONLY, OPT_LOSSLESS };
static const struct option options[] = {
	{"scanout-fd", 1, NULL, OPT_SCANOUT},
	{"event-fd", 1, NULL, OPT_EVENT},
	{"input-fd", 1, NULL, OPT_INPUT},
	{"resize-fd", 1, NULL, OPT_RESIZE},
	{"name", 1, NULL, OPT_NAME},
	{"layout", 1, NULL, OPT_LAYOUT},
	{"listen-fd", 1, NULL, OPT_LISTEN},
	{"password-fd", 1, NULL, OPT_PASSWORD},
	{"tls-cert-fd", 1, NULL, OPT_CERT},
	{"tls-key-fd", 1, NULL, OPT_KEY},
	{"tls-anonymous", 0, NULL, OPT_ANONYMOUS},
	{"open", 0, NULL, OPT_OPEN},
	{"view-only", 0, NULL, OPT_VIEW_ONLY},
	{"lossless", 0, NULL, OPT_LOSSLESS},
	DEVICE_OPTIONS,
	{NULL, 0, NULL, 0},
};

static const char usage[] =
	"husk-vnc: a machine's screen by VNC; husk run --display starts it. Descriptors only:\n"
	"  --scanout-fd N       the framebuffer's, then one for each head\n"
	"  --event-fd N         eventfd that says that one of them has something new\n"
	"  --input-fd N         SOCK_SEQPACKET, struct input_event both ways\n"
	"  --resize-fd N        SOCK_SEQPACKET, struct resize_wish out\n"
	"  --listen-fd N,KIND   a listening socket; KIND unix: private to the user, no password; or tcp. Up to 8 times\n"
	"  --name NAME          of the desktop\n"
	"  --layout L           the guest's keyboard layout, for viewers without key codes; default us\n"
	"  --password-fd N      a file with the password for tcp, of which plain VNC uses 8 bytes\n"
	"  --tls-cert-fd N, --tls-key-fd N   PEM: TLS on tcp, and nothing without\n"
	"  --tls-anonymous      TLS on tcp without a certificate\n"
	"  --open               tcp may do without password and without TLS\n"
	"  --view-only          keys, pointer and clipboard of viewers are ignored\n"
	"  --lossless           never JPEG\n"
	"  --debug LIST         log these categories, comma separated; 'all' is every one\n";

struct program {
	struct device d;
	struct rfb_server_config c;
	struct rfb_server *server;
	struct display *display;
	struct layout *layout;
	struct rfb_tls *tls;
	struct watch input;
	int resize_fd;
	char password[PASSWORD_MAX + 1];
	/* what the line had no room for */
	struct input_event queue[QUEUE];
	unsigned queued;
	uint64_t lost;
};

/* --- the line to husk-vmm ------------------------------------------------------------------------------ */

static bool is_motion(const struct input_event *ev)
{
	return ev->type == INPUT_MOVE || ev->type == INPUT_POINT;
}

/* What may be lost: all but what lets go, and how many look. Motion first, then what is oldest. */
static bool make_room(struct program *p)
{
	unsigned victim = QUEUE;

	for (unsigned i = 0; i < p->queued && victim == QUEUE; i++)
		if (is_motion(&p->queue[i]))
			victim = i;
	for (unsigned i = 0; i < p->queued && victim == QUEUE; i++)
		if (p->queue[i].type == INPUT_WHEEL || (p->queue[i].type <= INPUT_BUTTON && p->queue[i].a))
			victim = i;
	if (victim == QUEUE)
		return false;
	p->queued--;
	memmove(p->queue + victim, p->queue + victim + 1, (p->queued - victim) * sizeof p->queue[0]);
	p->lost++;
	return true;
}

static void enqueue(struct program *p, const struct input_event *ev)
{
	struct input_event *last = p->queued ? &p->queue[p->queued - 1] : NULL;

	if (last && last->type == INPUT_POINT && ev->type == INPUT_POINT) {
		*last = *ev;
		return;
	}
	if (p->queued == QUEUE && !make_room(p)) {
		/* nothing but ups: all of them in one */
		p->queue[0] = (struct input_event){.type = INPUT_RELEASE};
		p->queued = 1;
	}
	p->queue[p->queued++] = *ev;
}

static void line_watch(struct program *p)
{
	if (p->input.slot)
		loop_mod(p->d.loop, &p->input, EPOLLIN | (p->queued ? EPOLLOUT : 0));
}

static void line_gone(struct program *p)
{
	log_warn("the line to husk-vmm has ended: keys go nowhere");
	loop_del(p->d.loop, &p->input);
	p->queued = 0;
}

static void line_flush(struct program *p)
{
	while (p->queued && p->input.slot) {
		unsigned n = (unsigned)min_u64(p->queued, INPUT_EVENTS);

		if (send(p->input.fd, p->queue, n * sizeof p->queue[0], MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
			if (errno == EINTR)
				continue;
			if (errno != EAGAIN && errno != ENOBUFS)
				line_gone(p);
			break;
		}
		p->queued -= n;
		memmove(p->queue, p->queue + n, p->queued * sizeof p->queue[0]);
	}
}

static void input(void *arg, const struct input_event *ev, unsigned n)
{
	struct program *p = arg;

	if (!p->input.slot)
		return;
	for (unsigned i = 0; i < n; i++)
		enqueue(p, &ev[i]);
	line_flush(p);
	line_watch(p);
}

static void line_ready(struct watch *w, uint32_t events)
{
	struct program *p = CONTAINER_OF(w, struct program, input);
	struct input_event ev[INPUT_EVENTS];
	ssize_t n;

	if (events & EPOLLOUT) {
		line_flush(p);
		line_watch(p);
	}
	if (!(events & ~(uint32_t)EPOLLOUT) || !w->slot)
		return;
	n = recv(w->fd, ev, sizeof ev, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		line_gone(p);
		return;
	}
	for (ssize_t i = 0; i < n / (ssize_t)sizeof ev[0]; i++)
		if (ev[i].type == INPUT_STATE)
			rfb_server_state(p->server, (uint32_t)ev[i].a & (INPUT_LED_SCROLL | INPUT_LED_NUM | INPUT_LED_CAPS),
				ev[i].b == INPUT_ABSOLUTE ? INPUT_ABSOLUTE : INPUT_RELATIVE);
}

/* --- the line to husk-gpu ------------------------------------------------------------------------------ */

static int resize(void *arg, const struct resize_wish *w, unsigned n)
{
	struct program *p = arg;

	if (p->resize_fd < 0)
		return -EPERM;
	for (unsigned i = 0; i < n; i++)
		if (send(p->resize_fd, &w[i], sizeof w[i], MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			return errno == EAGAIN || errno == ENOBUFS ? -ENOSPC : -EPERM;
	return 0;
}

/* --- set-up -------------------------------------------------------------------------------------------- */

static size_t stats(void *arg, char *buf, size_t len)
{
	struct program *p = arg;
	size_t n = rfb_server_stats(p->server, buf, len);
	int k = snprintf(buf + n, len - n, "input_lost %llu\n", (unsigned long long)p->lost);

	return n + (k < 0 ? 0 : min_u64((uint64_t)k, len > n ? len - n - 1 : 0));
}

static int confined(void *arg, struct err *e)
{
	return rfb_server_run(((struct program *)arg)->server, e);
}

/* "N,unix" or "N,tcp" */
static bool listener(struct program *p, const char *s)
{
	struct rfb_listener *l = &p->c.listener[p->c.nlisteners];
	const char *comma = strchr(s, ',');
	char number[16];

	if (!comma || comma - s >= (ssize_t)sizeof number || p->c.nlisteners == RFB_LISTENERS ||
		(strcmp(comma, ",unix") && strcmp(comma, ",tcp"))) {
		log_err("--listen-fd %s: not N,unix or N,tcp, or more than %d", s, RFB_LISTENERS);
		return false;
	}
	snprintf(number, sizeof number, "%.*s", (int)(comma - s), s);
	l->fd = device_fd(&p->d, "listen-fd", number);
	l->local = !strcmp(comma, ",unix");
	p->c.nlisteners++;
	return true;
}

static int read_password(struct program *p, int fd, struct err *e)
{
	size_t n = 0;
	ssize_t k;

	/* a memfd whose writer has left its offset at the end */
	lseek(fd, 0, SEEK_SET);
	do {
		k = read(fd, p->password + n, sizeof p->password - n);
		n += k > 0 ? (size_t)k : 0;
	} while (n < sizeof p->password && (k > 0 || (k < 0 && errno == EINTR)));
	close(fd);
	if (k < 0)
		return err_set(e, errno, "--password-fd: %s", strerror(errno));
	if (n == sizeof p->password)
		return err_set(e, E2BIG, "--password-fd: more than %d bytes", PASSWORD_MAX);
	p->password[n] = '\0';
	p->password[strcspn(p->password, "\r\n")] = '\0';
	return p->password[0] ? 0 : err_set(e, EINVAL, "--password-fd: the password is empty");
}

static void set_auth(struct program *p, bool cert, bool anonymous, bool open)
{
	const char *password = p->password[0] ? p->password : NULL;

	for (unsigned i = 0; i < p->c.nlisteners; i++) {
		struct rfb_auth_config *a = &p->c.listener[i].auth;

		if (p->c.listener[i].local) {
			a->none = true;
			continue;
		}
		a->tls_x509 = cert;
		a->tls_anonymous = anonymous;
		a->tls_required = cert || anonymous;
		a->password = password;
		a->vnc = password;
		a->none = !password && (open || a->tls_required);
	}
}

static int set_up(struct program *p, const int *scanouts, unsigned nscanouts, int event_fd, const char *layout, struct err *e)
{
	int rc = layout_new(&p->layout, layout, e);

	if (!rc)
		rc = display_new(&p->display, p->d.loop, scanouts, nscanouts, event_fd, e);
	if (rc)
		return rc;
	p->c.loop = p->d.loop;
	p->c.display = p->display;
	p->c.layout = p->layout;
	p->c.tls = p->tls;
	p->c.input = input;
	p->c.resize = p->resize_fd >= 0 ? resize : NULL;
	p->c.arg = p;
	rc = rfb_server_new(&p->server, &p->c, e);
	if (rc)
		return rc;
	if (p->input.fd >= 0) {
		struct input_event fresh[] = {{.type = INPUT_RELEASE}, {.type = INPUT_VIEWERS}};

		rc = loop_add(p->d.loop, &p->input, EPOLLIN);
		if (rc)
			return err_set(e, -rc, "--input-fd: %s", strerror(-rc));
		/* a husk-vnc before this one may have left keys down */
		input(p, fresh, ARRAY_LEN(fresh));
	}
	return 0;
}

static void non_blocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

int main(int argc, char **argv)
{
	static struct program p = {.input = {.fd = -1, .ready = line_ready}, .resize_fd = -1};
	int scanouts[1 + SCANOUT_HEADS], event_fd = -1, password_fd = -1, cert_fd = -1, key_fd = -1, opt, rc;
	bool anonymous = false, open_to_all = false;
	const char *layout = "us";
	unsigned nscanouts = 0;
	struct err e = {0};

	device_init(&p.d, "husk-vnc");
	p.c.name = "husk";
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case OPT_SCANOUT:
			if (nscanouts == ARRAY_LEN(scanouts)) {
				log_err("--scanout-fd: there are %zu at most", ARRAY_LEN(scanouts));
				return 2;
			}
			scanouts[nscanouts++] = device_fd(&p.d, "scanout-fd", optarg);
			break;
		case OPT_EVENT:
			event_fd = device_fd(&p.d, "event-fd", optarg);
			break;
		case OPT_INPUT:
			p.input.fd = device_fd(&p.d, "input-fd", optarg);
			break;
		case OPT_RESIZE:
			p.resize_fd = device_fd(&p.d, "resize-fd", optarg);
			break;
		case OPT_NAME:
			p.c.name = optarg;
			break;
		case OPT_LAYOUT:
			layout = optarg;
			break;
		case OPT_LISTEN:
			if (!listener(&p, optarg))
				return 2;
			break;
		case OPT_PASSWORD:
			password_fd = device_fd(&p.d, "password-fd", optarg);
			break;
		case OPT_CERT:
			cert_fd = device_fd(&p.d, "tls-cert-fd", optarg);
			break;
		case OPT_KEY:
			key_fd = device_fd(&p.d, "tls-key-fd", optarg);
			break;
		case OPT_ANONYMOUS:
			anonymous = true;
			break;
		case OPT_OPEN:
			open_to_all = true;
			break;
		case OPT_VIEW_ONLY:
			p.c.view_only = true;
			break;
		case OPT_LOSSLESS:
			p.c.lossless = true;
			break;
		case DEVICE_OPT_HELP:
			fputs(usage, stdout);
			return 0;
		default:
			if (!device_option(&p.d, opt, optarg))
				return 2;
		}
	}
	if (optind < argc || !nscanouts || event_fd < 0 || !p.c.nlisteners || (cert_fd < 0) != (key_fd < 0)) {
		fputs("husk-vnc: --scanout-fd, --event-fd and --listen-fd are needed, a certificate has a key; see husk-vnc --help\n",
			stderr);
		return 2;
	}
	device_close_others(&p.d);
	for (unsigned i = 0; i < p.c.nlisteners; i++)
		non_blocking(p.c.listener[i].fd);
	rc = password_fd >= 0 ? read_password(&p, password_fd, &e) : 0;
	if (!rc && (cert_fd >= 0 || anonymous))
		rc = rfb_tls_new(&p.tls, cert_fd, key_fd, anonymous, &e);
	set_auth(&p, cert_fd >= 0, anonymous, open_to_all);
	if (!rc)
		rc = set_up(&p, scanouts, nscanouts, event_fd, layout, &e);
	if (rc)
		return device_fail(&p.d, &e);
	if (cert_fd >= 0) {
		close(cert_fd);
		close(key_fd);
	}
	p.d.syscalls = vnc_syscalls;
	p.d.data_max = DATA_MAX_BYTES;
	p.d.new_fds = rfb_server_fds(p.server);
	p.d.confined = confined;
	p.d.stats = stats;
	p.d.arg = &p;
	rc = device_run(&p.d, NULL);
	rfb_server_free(p.server);
	display_free(p.display);
	rfb_tls_free(p.tls);
	layout_free(p.layout);
	return rc;
}
