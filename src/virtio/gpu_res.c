/* SPDX-License-Identifier: MIT */
/*
 * Resources: a picture on the host, and the guest memory that it is filled from. The picture is a copy, so that it shows
 * what was transferred and not what the guest draws meanwhile; all memory for pictures and lists together is limited.
 *
 * Numbers come from a hostile guest: sides are limited as those of a screen are, and offsets are compared as 64-bit
 * numbers against what is left, never added first.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "base/util.h"
#include "virtio/gpu-int.h"

enum { OVERHEAD = 512 /* charged for a resource without pixels */ };

/* ---- formats ---- */

/* Where a format has red, green, blue and alpha, as shifts in a little-endian word; in X formats that byte is cursors' alpha only */
static const struct format {
	uint8_t number, r, g, b, a;
} formats[] = {
	{GPU_B8G8R8A8, 16, 8, 0, 24},
	{GPU_B8G8R8X8, 16, 8, 0, 24},
	{GPU_A8R8G8B8, 8, 16, 24, 0},
	{GPU_X8R8G8B8, 8, 16, 24, 0},
	{GPU_R8G8B8A8, 0, 8, 16, 24},
	{GPU_X8B8G8R8, 24, 16, 8, 0},
	{GPU_A8B8G8R8, 24, 16, 8, 0},
	{GPU_R8G8B8X8, 0, 8, 16, 24},
};

static const struct format *format_of(uint32_t number)
{
	for (size_t i = 0; i < ARRAY_LEN(formats); i++)
		if (formats[i].number == number)
			return &formats[i];
	return NULL;
}

static void swizzle(const struct format *f, uint32_t *px, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t v = px[i];

		px[i] = (v >> f->a & 0xff) << 24 | (v >> f->r & 0xff) << 16 | (v >> f->g & 0xff) << 8 | (v >> f->b & 0xff);
	}
}

/* ---- resources ---- */

struct gpu_res *gpu_res_find(const struct gpu *g, uint32_t id)
{
	for (unsigned i = 0; id && i < g->nslots; i++)
		if (g->id[i] == id)
			return g->res[i];
	return NULL;
}

static size_t px_bytes(uint32_t w, uint32_t h)
{
	return align_up((uint64_t)w * h * 4, MEM_PAGE);
}

static bool charge(struct gpu *g, uint64_t bytes)
{
	if (bytes > g->memory_max - g->memory)
		return false;
	g->memory += bytes;
	return true;
}

unsigned gpu_res_slot(const struct gpu *g)
{
	unsigned slot = 0;

	while (slot < g->nslots && g->id[slot])
		slot++;
	return slot;
}

enum gpu_answer gpu_res_new(struct gpu *g, unsigned slot, uint32_t id, uint32_t format, uint32_t w, uint32_t h,
	struct gpu_res **out)
{
	struct gpu_res *res;

	if (!id || gpu_res_find(g, id))
		return GPU_ERR_INVALID_RESOURCE;
	if (!format_of(format) || !scanout_mode_ok(w, h))
		return GPU_ERR_INVALID_PARAMETER;
	if (slot == GPU_RESOURCES || !charge(g, px_bytes(w, h) + OVERHEAD))
		return GPU_ERR_OUT_OF_MEMORY;
	res = calloc(1, sizeof *res);
	if (!res)
		goto no_res;
	/* mapped, so that it is zeroes without being touched, and really goes when it is freed */
	res->px = mmap(NULL, px_bytes(w, h), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (res->px == MAP_FAILED)
		goto no_px;
	res->id = id;
	res->format = format;
	res->w = w;
	res->h = h;
	res->slot = slot;
	res->charged = px_bytes(w, h) + OVERHEAD;
	g->id[slot] = id;
	g->res[slot] = res;
	g->nres++;
	if (slot >= g->nslots)
		g->nslots = slot + 1;
	*out = res;
	return GPU_OK;
no_px:
	free(res);
no_res:
	g->memory -= px_bytes(w, h) + OVERHEAD;
	return GPU_ERR_OUT_OF_MEMORY;
}

void gpu_res_free(struct gpu *g, struct gpu_res *res)
{
	gpu_backing_free(g, res);
	g->memory -= res->charged;
	g->id[res->slot] = 0;
	g->res[res->slot] = NULL;
	g->nres--;
	while (g->nslots && !g->id[g->nslots - 1])
		g->nslots--;
	munmap(res->px, px_bytes(res->w, res->h));
	free(res);
}

/* ---- backings ---- */

void gpu_backing_begin(struct gpu_backing *b, struct gpu *g, struct gpu_res *res, const struct mem *mem, uint32_t n)
{
	*b = (struct gpu_backing){.g = g, .res = res, .mem = mem, .max = n, .answer = GPU_OK};
	if (res->piece)
		b->answer = GPU_ERR_UNSPEC;
	else if (!n)
		b->answer = GPU_ERR_INVALID_PARAMETER;
	else if (n > GPU_ENTRIES)
		b->answer = GPU_ERR_OUT_OF_MEMORY;
	if (b->answer != GPU_OK)
		return;
	b->piece = malloc((n + 1) * sizeof *b->piece);
	if (!b->piece)
		b->answer = GPU_ERR_OUT_OF_MEMORY;
	else
		b->piece[0] = (struct gpu_piece){0};
}

/* Guests send pages; neighbours in guest memory become one piece. Sums stay below 2^14 times RAM. */
void gpu_backing_put(struct gpu_backing *b, uint64_t gpa, uint64_t len)
{
	struct gpu_piece *last = b->piece + b->n;

	if (b->answer != GPU_OK)
		return;
	if (!len || b->n == b->max || !mem_at(b->mem, gpa, len)) {
		b->answer = GPU_ERR_INVALID_PARAMETER;
		return;
	}
	if (b->n && last[-1].gpa + (last->at - last[-1].at) == gpa &&
		mem_at(b->mem, last[-1].gpa, last->at - last[-1].at + len)) {
		last->at += len;
		return;
	}
	last->gpa = gpa;
	last[1] = (struct gpu_piece){.at = last->at + len};
	b->n++;
}

enum gpu_answer gpu_backing_end(struct gpu_backing *b)
{
	uint64_t bytes = (b->n + 1ull) * sizeof *b->piece;
	struct gpu_piece *p;

	if (b->answer == GPU_OK && !b->n)
		b->answer = GPU_ERR_INVALID_PARAMETER;
	if (b->answer == GPU_OK && !charge(b->g, bytes))
		b->answer = GPU_ERR_OUT_OF_MEMORY;
	if (b->answer != GPU_OK) {
		free(b->piece);
		return b->answer;
	}
	p = realloc(b->piece, bytes);
	b->res->piece = p ? p : b->piece;
	b->res->npieces = b->n;
	b->res->charged_backing = bytes;
	return GPU_OK;
}

void gpu_backing_free(struct gpu *g, struct gpu_res *res)
{
	g->memory -= res->charged_backing;
	res->charged_backing = 0;
	free(res->piece);
	res->piece = NULL;
	res->npieces = 0;
}

/* ---- transfers ---- */

/* The piece that has the byte at off, which is less than the end */
static uint32_t piece_at(const struct gpu_res *res, uint64_t off)
{
	uint32_t lo = 0, hi = res->npieces;

	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (res->piece[mid].at <= off)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

/* len bytes from off on, which lie inside; *i: the piece of an offset that is not above off, moved on. 0 or -EFAULT */
static int copy(const struct gpu_res *res, const struct mem *mem, uint32_t *i, uint64_t off, void *dst, uint64_t len)
{
	uint8_t *to = dst;

	while (len) {
		const struct gpu_piece *p;
		uint64_t n;
		int rc;

		while (res->piece[*i + 1].at <= off)
			(*i)++;
		p = &res->piece[*i];
		n = min_u64(len, p[1].at - off);
		rc = mem_get(mem, p->gpa + (off - p->at), to, n);
		if (rc)
			return rc;
		to += n;
		off += n;
		len -= n;
	}
	return 0;
}

enum gpu_answer gpu_transfer(struct gpu *g, struct gpu_res *res, const struct mem *mem, struct rect r, uint64_t off)
{
	const struct format *f = format_of(res->format);
	uint64_t stride = (uint64_t)res->w * 4, row = (uint64_t)r.w * 4, end;
	bool swap = f->r != 16 || f->b;
	uint32_t rows = r.h, i;

	if (!res->piece)
		return GPU_ERR_UNSPEC;
	if (!gpu_inside(res, r))
		return GPU_ERR_INVALID_PARAMETER;
	if (rect_empty(r))
		return GPU_OK;
	end = res->piece[res->npieces].at;
	if (off > end || stride * (r.h - 1) + row > end - off)
		return GPU_ERR_INVALID_PARAMETER;
	i = piece_at(res, off);
	if (r.w == res->w) {
		row *= rows;
		rows = 1;
	}
	for (uint32_t y = 0; y < rows; y++) {
		uint32_t *dst = res->px + (size_t)(r.y + y) * res->w + r.x;

		if (copy(res, mem, &i, off + y * stride, dst, row))
			return GPU_ERR_INVALID_PARAMETER;
		if (swap)
			swizzle(f, dst, row / 4);
	}
	g->n.transferred += row * rows;
	return GPU_OK;
}
