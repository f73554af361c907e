/* SPDX-License-Identifier: MIT */
/* A device that ends at any point, and the one that goes on with its state. */
#undef NDEBUG
#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "guest.h"

enum { OK = VIRTIO_GPU_RESP_OK_NODATA, BAD_ID = VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID };
enum { XRGB = VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM };
#define RECT(...) ((struct rect){__VA_ARGS__})

static uint32_t rnd_state;
static uint32_t rnd(uint32_t n)
{
	rnd_state = rnd_state * 1664525 + 1013904223;
	return (rnd_state >> 8) % n;
}

static void *shared(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert(p != MAP_FAILED);
	return p;
}

static void start(struct guest *g)
{
	drv_start(&g->d, VIRTIO_F_VERSION_1 | g->dev->features, 64);
}

/* The process is killed here, and another one comes. */
static void die(struct guest *g, void *state)
{
	for (unsigned i = 0; i < 2; i++)
		virtq_stop(&g->d.q[i].vq);
	gpu_free(g->dev);
	for (unsigned i = 0; i < g->nheads; i++) {
		struct err e;

		scanout_close(g->out[i]);
		assert(!scanout_open(&g->out[i], g->fd[i], -1, &e));
	}
	guest_device(g, &(struct gpu_config){.state = state});
}

static void survives(void)
{
	static struct guest g;
	static struct scanout_view_cursor c;
	struct virtio_gpu_config k;
	void *state = shared(GPU_STATE);
	struct surface s;
	uint32_t generation, now;

	guest_init(&g, 2);
	guest_device(&g, &(struct gpu_config){.state = state});
	start(&g);
	guest_paint(&g, GUEST_FB, 100, 50, 1);
	guest_picture(&g, 7, 100, 50, GUEST_FB);
	guest_picture(&g, 8, 10, 10, GUEST_FB);
	guest_picture(&g, 9, 33, 44, GUEST_FB);
	assert(guest_unref(&g, 8) == OK && guest_detach(&g, 9) == OK);
	assert(guest_scanout(&g, 0, 7, RECT(0, 0, 100, 50)) == OK && guest_scanout(&g, 1, 7, RECT(10, 10, 20, 20)) == OK);
	assert(!gpu_resize(g.dev, &(struct resize_wish){1, 1000, 500}));
	assert(guest_cursor(&g, VIRTIO_GPU_CMD_UPDATE_CURSOR, 1, 9, 5, 6, 20, 10) == OK);
	assert(scanout_view_mode(g.view[0], &s, &generation));
	guest_paint(&g, GUEST_FB, 100, 50, 2);
	die(&g, state);
	/* before a queue is started: what the transport asks for */
	g.dev->ops->config_read(g.dev, 0, &k, sizeof k);
	assert(k.events_read == 1);
	start(&g);
	assert(guest_stat(&g, "resources") == 2 && guest_stat(&g, "restored") == 2 && !guest_stat(&g, "lost"));
	/* the same picture, not black in between; newer if the guest has drawn */
	assert(scanout_view_mode(g.view[0], &s, &now) && now == generation);
	assert(guest_shows(&g, 0, 100, 50, RECT(0, 0, 100, 50), 0, 0, 2) && guest_shows(&g, 1, 20, 20, RECT(0, 0, 20, 20), 10, 10, 2));
	guest_paint(&g, GUEST_FB, 100, 50, 3);
	assert(guest_transfer(&g, 7, RECT(0, 0, 100, 50), 0) == OK && guest_flush(&g, 7, RECT(0, 0, 100, 50)) == OK);
	assert(guest_shows(&g, 0, 100, 50, RECT(0, 0, 100, 50), 0, 0, 3) && guest_shows(&g, 1, 20, 20, RECT(0, 0, 20, 20), 10, 10, 3));
	assert(guest_unref(&g, 8) == BAD_ID && guest_detach(&g, 9) == VIRTIO_GPU_RESP_ERR_UNSPEC);
	assert(guest_cursor(&g, VIRTIO_GPU_CMD_MOVE_CURSOR, 1, 0, 50, 60, 0, 0) == OK);
	assert(scanout_view_cursor(g.view[1], &c) && c.w == 33 && c.x == 70 && c.y == 70);
	/* the new one keeps state, too */
	assert(guest_attach_at(&g, 9, GUEST_FB, 33 * 44 * 4) == OK && guest_unref(&g, 7) == OK);
	die(&g, state);
	start(&g);
	assert(guest_stat(&g, "resources") == 1 && guest_dark(&g, 0) && guest_dark(&g, 1) && guest_unref(&g, 7) == BAD_ID);
	assert(guest_transfer(&g, 9, RECT(0, 0, 33, 44), 0) == OK && guest_scanout(&g, 0, 9, RECT(0, 0, 33, 44)) == OK);
	/* a reset ends it all but for the wishes */
	drv_stop(&g.d);
	start(&g);
	die(&g, state);
	start(&g);
	g.dev->ops->config_read(g.dev, 0, &k, sizeof k);
	assert(!guest_stat(&g, "resources") && !k.events_read && guest_dark(&g, 0));
	assert(guest_stat(&g, "restored") == 0 && guest_unref(&g, 9) == BAD_ID);
	assert(!gpu_resize(g.dev, &(struct resize_wish){1, 1000, 500}) && !g.d.config_changes);
	/* also before a queue was started */
	guest_picture(&g, 1, 8, 8, GUEST_FB);
	die(&g, state);
	g.dev->ops->reset(g.dev);
	start(&g);
	assert(!guest_stat(&g, "resources"));
	guest_fini(&g);
	munmap(state, GPU_STATE);
}

/* Backings of as many pieces as may be, more than the state has room for; gaps are used again. */
static void full(void)
{
	enum { N = 16384, FIT = 15 };
	static struct virtio_gpu_mem_entry e[N];
	static struct guest g;
	void *state = shared(GPU_STATE);

	guest_init(&g, 1);
	guest_device(&g, &(struct gpu_config){.state = state});
	start(&g);
	for (unsigned i = 0; i < N; i++)
		e[i] = (struct virtio_gpu_mem_entry){.addr = GUEST_FB + (i * 2 % 512) * 4096, .length = 4096};
	for (uint32_t id = 1; id <= FIT; id++)
		assert(guest_create(&g, id, XRGB, 64, 64) == OK && guest_attach(&g, id, e, N) == OK && !guest_stat(&g, "lost"));
	assert(guest_create(&g, 50, XRGB, 64, 64) == OK && guest_attach(&g, 50, e, N) == OK && guest_stat(&g, "lost") == 1);
	assert(guest_transfer(&g, 50, RECT(0, 0, 64, 64), 0) == OK);
	assert(guest_detach(&g, 3) == OK && guest_unref(&g, 12) == OK && guest_create(&g, 60, XRGB, 64, 64) == OK);
	assert(guest_attach(&g, 60, e + 1, N - 1) == OK && guest_attach(&g, 3, e, N) == OK && guest_stat(&g, "lost") == 1);
	memset(mem_at(&g.mem, GUEST_FB, 2 * MIB), 0, 2 * MIB);
	guest_paint(&g, GUEST_FB, 64, 16, 1);        /* the first page of most, */
	guest_paint(&g, GUEST_FB + 8192, 64, 16, 2); /* and of 60 */
	die(&g, state);
	start(&g);
	assert(guest_stat(&g, "resources") == FIT + 1 && !guest_stat(&g, "lost"));
	for (uint32_t id = 1; id <= 60; id = id == FIT ? 60 : id + 1) {
		if (id == 12)
			continue;
		assert(guest_scanout(&g, 0, id, RECT(0, 0, 64, 64)) == OK);
		assert(guest_shows(&g, 0, 64, 64, RECT(0, 0, 64, 16), 0, 0, id == 60 ? 2 : 1));
	}
	assert(guest_transfer(&g, 50, RECT(0, 0, 64, 64), 0) == VIRTIO_GPU_RESP_ERR_UNSPEC);
	guest_fini(&g);
	munmap(state, GPU_STATE);
}

/* Less memory than there was: a map that changed while queues were stopped, and the next process' */
static void other_memory(void)
{
	static struct guest g;
	void *state = shared(GPU_STATE);
	struct virtq *vq;
	struct mem small;

	guest_init(&g, 1);
	mem_init_empty(&small);
	assert(!mem_attach(&small, 0, GUEST_FB + MIB, g.mem.fd, 0, NULL));
	guest_device(&g, &(struct gpu_config){.state = state});
	start(&g);
	guest_paint(&g, GUEST_FB, 64, 64, 1);
	guest_picture(&g, 1, 64, 64, GUEST_FB);
	guest_picture(&g, 2, 64, 64, GUEST_FB + MIB);
	assert(guest_scanout(&g, 0, 2, RECT(0, 0, 64, 64)) == OK);
	vq = &g.d.q[0].vq;
	g.dev->ops->stop(g.dev, 0);
	vq->mem = &small;
	vq->last = &small.region[0];
	assert(!g.dev->ops->start(g.dev, 0, vq));
	assert(guest_transfer(&g, 1, RECT(0, 0, 64, 64), 0) == OK);
	assert(guest_transfer(&g, 2, RECT(0, 0, 64, 64), 0) == VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
	assert(guest_scanout(&g, 0, 1, RECT(0, 0, 64, 64)) == OK && guest_shows(&g, 0, 64, 64, RECT(0, 0, 64, 64), 0, 0, 1));
	die(&g, state);
	g.d.mem = &small;
	start(&g);
	assert(guest_stat(&g, "resources") == 2 && guest_stat(&g, "lost") == 1);
	assert(guest_transfer(&g, 1, RECT(0, 0, 64, 64), 0) == OK);
	assert(guest_transfer(&g, 2, RECT(0, 0, 64, 64), 0) == VIRTIO_GPU_RESP_ERR_UNSPEC && guest_unref(&g, 2) == OK);
	guest_fini(&g);
	mem_fini(&small);
	munmap(state, GPU_STATE);
}

/* What a process that was taken over may have left */
static void hostile(void)
{
	static struct guest g;
	uint8_t *state = shared(GPU_STATE);

	for (unsigned round = 0; round < 60; round++) {
		guest_init(&g, 2);
		guest_device(&g, &(struct gpu_config){.state = state});
		start(&g);
		for (uint32_t id = 1; id < 20; id++)
			guest_picture(&g, id, 20, 20, GUEST_FB);
		guest_scanout(&g, 0, 3, RECT(0, 0, 10, 10));
		guest_scanout(&g, 1, 3, RECT(0, 0, 10, 10));
		for (unsigned n = 0; n < 20; n++) {
			/* heads and the first slots; the pool */
			uint8_t *p = state + 8 + 4 * rnd(150);

			if (!rnd(4))
				p = state + 65536 + 4 * rnd(80);
			put_u32(p, rnd(2) ? rnd(100) : rnd(2) ? rnd(1 << 24) << 8 : ~rnd(2));
		}
		die(&g, state);
		start(&g);
		for (uint32_t id = 1; id < 20; id++) {
			guest_transfer(&g, id, RECT(0, 0, 20, 20), 0);
			guest_flush(&g, id, RECT(0, 0, 20, 20));
		}
		guest_fini(&g);
	}
	munmap(state, GPU_STATE);
}

/* ---- killed at any instruction ---- */

enum { IDS = 12, BATCH = 8, BATCHES = 40, CMD_SIZE = 1024, ENTRIES = 24, STEPS = 3000 };

/* What a driver knows */
static struct {
	uint32_t w, h; /* 0: none */
	bool attached;
} model[IDS + 1];
static uint32_t shown[2];

/* One command, right for the model, at p; its length */
static uint32_t any(uint8_t *p)
{
	struct virtio_gpu_ctrl_hdr *h = (void *)p;
	uint32_t id = 1 + rnd(IDS);

	memset(p, 0, CMD_SIZE);
	if (!model[id].w) {
		struct virtio_gpu_resource_create_2d *c = (void *)p;

		model[id].w = 4 + rnd(20);
		model[id].h = 4 + rnd(20);
		*c = (struct virtio_gpu_resource_create_2d){.resource_id = id, .format = XRGB, .width = model[id].w,
			.height = model[id].h};
		h->type = VIRTIO_GPU_CMD_RESOURCE_CREATE_2D;
		return sizeof *c;
	}
	if (!model[id].attached) {
		struct virtio_gpu_resource_attach_backing *c = (void *)p;
		struct virtio_gpu_mem_entry *e = (void *)(c + 1);
		uint32_t left = model[id].w * model[id].h * 4, n = 0;

		for (; left; n++) {
			uint32_t len = n == ENTRIES - 1 ? left : (uint32_t)min_u64(left, 1 + rnd(300));

			e[n] = (struct virtio_gpu_mem_entry){.addr = GUEST_FB + rnd(1 << 20), .length = len};
			left -= len;
		}
		c->resource_id = id;
		c->nr_entries = n;
		model[id].attached = true;
		h->type = VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING;
		return (uint32_t)(sizeof *c + n * sizeof *e);
	}
	switch (rnd(6)) {
	case 0: {
		struct virtio_gpu_resource_unref *c = (void *)p;

		c->resource_id = id;
		model[id].w = 0;
		model[id].attached = false;
		for (unsigned i = 0; i < 2; i++)
			shown[i] = shown[i] == id ? 0 : shown[i];
		h->type = VIRTIO_GPU_CMD_RESOURCE_UNREF;
		return sizeof *c;
	}
	case 1: {
		struct virtio_gpu_resource_detach_backing *c = (void *)p;

		c->resource_id = id;
		model[id].attached = false;
		h->type = VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING;
		return sizeof *c;
	}
	case 2: {
		struct virtio_gpu_transfer_to_host_2d *c = (void *)p;

		c->resource_id = id;
		c->r = (struct virtio_gpu_rect){0, 0, model[id].w, model[id].h};
		h->type = VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D;
		return sizeof *c;
	}
	case 3: {
		struct virtio_gpu_resource_flush *c = (void *)p;

		c->resource_id = id;
		c->r = (struct virtio_gpu_rect){1, 1, model[id].w - 1, model[id].h - 1};
		h->type = VIRTIO_GPU_CMD_RESOURCE_FLUSH;
		return sizeof *c;
	}
	default: {
		struct virtio_gpu_set_scanout *c = (void *)p;

		c->scanout_id = rnd(2);
		c->resource_id = rnd(5) ? id : 0;
		c->r = (struct virtio_gpu_rect){rnd(2), rnd(2), model[id].w - 1, model[id].h - 1};
		shown[c->scanout_id] = c->resource_id;
		h->type = VIRTIO_GPU_CMD_SET_SCANOUT;
		return sizeof *c;
	}
	}
}

/* Another device for the same driver */
static void another(struct guest *g, void *state)
{
	struct drv_queue keep[2] = {g->d.q[0], g->d.q[1]};

	guest_device(g, &(struct gpu_config){.state = state});
	memcpy(g->d.q, keep, sizeof keep);
}

/* Calls for each answer: so many are waited for before the steps begin. */
static unsigned stop_after;
static void written(void *arg, uint64_t gpa, uint64_t len)
{
	(void)arg;
	if (gpa >= GUEST_ANSWER && len == 24 && !--stop_after)
		raise(SIGSTOP);
}

/* The rings as they are in memory, for a device of this process */
static void resume(struct guest *g, struct virtq_inflight *record)
{
	struct err e;

	for (unsigned i = 0; i < 2; i++) {
		struct drv_queue *q = &g->d.q[i];
		uint16_t used;

		assert(!mem_get(&g->mem, q->base + DRV_USED + 2, &used, 2));
		q->vq = (struct virtq){.mem = &g->mem, .features = VIRTIO_F_VERSION_1, .kick_fd = -1, .call = q->vq.call,
			.call_arg = q, .ring = q->vq.ring, .written = written,
			.inflight = (void *)((uint8_t *)record + i * virtq_inflight_size(64))};
		assert(!virtq_start(&q->vq, used, &e) && !g->dev->ops->start(g->dev, i, &q->vq));
	}
}

/* A child does what is in the ring, and is killed after some instructions; true: it was done before */
static bool one_life(struct guest *g, void *state, struct virtq_inflight *record, unsigned steps)
{
	pid_t pid = fork();
	int status;

	assert(pid >= 0);
	if (!pid) {
		for (unsigned i = 0; i < g->nheads; i++)
			assert(!scanout_open(&g->out[i], g->fd[i], -1, NULL));
		assert(!ptrace(PTRACE_TRACEME, 0, NULL, NULL));
		another(g, state);
		stop_after = steps % (BATCH + 1); /* 0: it may die while it starts */
		if (!stop_after)
			raise(SIGSTOP);
		resume(g, record);
		g->dev->ops->kick(g->dev, 0);
		_exit(0);
	}
	assert(waitpid(pid, &status, 0) == pid);
	if (WIFEXITED(status)) /* there were fewer commands left */
		return !WEXITSTATUS(status);
	assert(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	while (steps--) {
		assert(!ptrace(steps >= STEPS ? PTRACE_CONT : PTRACE_SINGLESTEP, pid, NULL, NULL));
		assert(waitpid(pid, &status, 0) == pid);
		if (WIFEXITED(status)) {
			assert(!WEXITSTATUS(status));
			return true;
		}
		assert(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
	}
	kill(pid, SIGKILL);
	assert(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
	return false;
}

static void killed(void)
{
	static struct guest a, b; /* killed; never */
	void *state = shared(GPU_STATE);
	struct virtq_inflight *record = shared(2 * virtq_inflight_size(64));
	unsigned lives = 0, ends = 0;

	guest_init(&a, 2);
	guest_init(&b, 2);
	guest_device(&a, &(struct gpu_config){.state = state});
	guest_device(&b, &(struct gpu_config){0});
	start(&a);
	start(&b);
	for (unsigned i = 0; i < 2; i++)
		virtq_stop(&a.d.q[i].vq);
	gpu_free(a.dev);
	for (uint32_t i = 0; i < 2 << 20; i += 4) {
		uint32_t v = rnd(1 << 24);

		put_u32(mem_at(&a.mem, GUEST_FB + i, 4), v);
		put_u32(mem_at(&b.mem, GUEST_FB + i, 4), v);
	}
	for (unsigned n = 0; n < BATCHES; n++) {
		struct guest *both[] = {&a, &b};
		static uint8_t cmd[BATCH][CMD_SIZE];
		uint32_t len[BATCH];
		bool done = false;

		for (unsigned i = 0; i < BATCH; i++)
			len[i] = any(cmd[i]);
		for (unsigned k = 0; k < 2; k++)
			for (unsigned i = 0; i < BATCH; i++) {
				uint64_t at = DRV_DATA + i * CMD_SIZE;

				assert(!mem_put(&both[k]->mem, at, cmd[i], CMD_SIZE));
				assert(!mem_zero(&both[k]->mem, GUEST_ANSWER + i * 64, 64));
				drv_add(&both[k]->d, 0, (struct drv_seg[]){{at, len[i], false}, {GUEST_ANSWER + i * 64, 64, true}}, 2);
			}
		drv_kick(&b.d, 0);
		/* often at the beginning, now and then later */
		for (unsigned life = 0; !done; life++, lives++)
			ends += !(done = one_life(&a, state, record, life < 2 ? rnd(1 + rnd(STEPS)) : UINT32_MAX));
		for (unsigned i = 0; i < BATCH; i++) {
			uint16_t x, y;

			assert(drv_used(&a.d, 0, &x) == 24 && drv_used(&b.d, 0, &y) == 24 && x == y);
			assert(get_u32(mem_at(&b.mem, GUEST_ANSWER + i * 64, 4)) == OK);
			assert(get_u32(mem_at(&a.mem, GUEST_ANSWER + i * 64, 4)) == OK);
		}
		assert(drv_used(&a.d, 0, NULL) == -1);
	}
	/* all pictures as they are in memory: the same resources, and the same on the heads */
	another(&a, state);
	resume(&a, record);
	for (uint32_t id = 1; id <= IDS; id++) {
		struct rect r = {0, 0, model[id].w, model[id].h};
		uint32_t want = !model[id].w ? BAD_ID : model[id].attached ? OK : VIRTIO_GPU_RESP_ERR_UNSPEC;

		assert(guest_transfer(&a, id, r, 0) == want && guest_transfer(&b, id, r, 0) == want);
		want = model[id].w ? OK : BAD_ID;
		assert(guest_flush(&a, id, r) == want && guest_flush(&b, id, r) == want);
	}
	assert(guest_stat(&a, "memory") == guest_stat(&b, "memory") && guest_stat(&a, "resources") == guest_stat(&b, "resources"));
	for (unsigned i = 0; i < 2; i++) {
		struct surface x, y;
		uint32_t generation;

		assert(guest_dark(&a, i) == !shown[i] && guest_dark(&b, i) == !shown[i]);
		if (!shown[i])
			continue;
		assert(scanout_view_mode(a.view[i], &x, &generation) && scanout_view_mode(b.view[i], &y, &generation));
		assert(x.w == y.w && x.h == y.h && x.stride == y.stride);
		assert(!model[shown[i]].attached || !memcmp(x.px, y.px, (size_t)x.stride * x.h));
	}
	printf("%u lives, %u of them ended early, for %u commands\n", lives, ends, BATCHES * BATCH);
	guest_fini(&a);
	guest_fini(&b);
	munmap(state, GPU_STATE);
	munmap(record, 2 * virtq_inflight_size(64));
}

int main(void)
{
	survives();
	full();
	other_memory();
	hostile();
	killed();
	return 0;
}
