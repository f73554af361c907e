/* SPDX-License-Identifier: MIT */
/*
 * A link that is made of numbers: so many bytes a second, so long a way, a viewer that takes its time to draw; and a guest that
 * changes 30 times a second. What comes through, and how old it is. Virtual time, so nothing depends on the machine.
 */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>

#include "base/util.h"
#include "rfb/pace-int.h"

#define MS UINT64_C(1000000)
enum { FLIGHT = 4096 };

struct link {
	uint64_t rate;       /* bytes per second */
	uint64_t way;        /* there and back */
	uint64_t draw;       /* per update */
	/* on the way: the answer to each fence and when it comes */
	uint32_t number[FLIGHT];
	uint64_t back[FLIGHT], made[FLIGHT];
	unsigned first, next;
	uint64_t free, drawn; /* when the link, the viewer has nothing more to do */
};

struct result {
	double updates;      /* per second */
	uint64_t age;        /* from change to what the viewer sees: mean, without the way there; ns */
	uint64_t window;
};

/* A fence goes out at t; what is in front of it is drawn when l->drawn says. */
static void fly(struct link *l, uint64_t t, uint32_t number, uint64_t changed)
{
	unsigned i = l->next++ % FLIGHT;

	l->drawn = max_u64(l->drawn, t + l->way / 2);
	l->number[i] = number;
	l->back[i] = l->drawn + l->way / 2;
	l->made[i] = changed;
}

/* size: bytes of an update. Seconds from 0 to end; what is counted begins at from. */
static struct result run(struct pace *p, struct link *l, uint64_t t0, uint64_t from, uint64_t end, uint64_t size)
{
	uint64_t changed = 0, sum = 0, n = 0, next_change = t0;
	bool dirty = false;
	uint32_t number;

	assert(pace_fence(p, t0, &number));
	fly(l, t0, number, 0);
	for (uint64_t t = t0; t < end; t += MS / 4) {
		if (t >= next_change) {
			if (!dirty)
				changed = t;
			dirty = true;
			next_change += 1000 * MS / 30;
		}
		while (l->first != l->next && l->back[l->first % FLIGHT] <= t) {
			unsigned i = l->first++ % FLIGHT;

			assert(pace_acked(p, l->number[i], t));
			if (pace_probe(p, t, &number))
				fly(l, t, number, 0);
			if (t >= from && l->made[i]) {
				n++;
				sum += t - l->made[i] - l->way;
			}
		}
		if (dirty && !pace_open(p))
			pace_blocked(p);
		while (dirty && pace_open(p)) {
			pace_sent(p, size);
			assert(pace_fence(p, t, &number));
			l->free = max_u64(l->free, t) + size * 1000 * MS / l->rate;
			l->drawn = max_u64(l->drawn, l->free + l->way / 2) + l->draw;
			fly(l, t, number, changed);
			dirty = false;
		}
	}
	return (struct result){(double)n * 1000 * MS / (double)(end - from), n ? sum / n : 0, pace_window(p)};
}

static struct result fresh(uint64_t rate, uint64_t way, uint64_t draw, uint64_t size, uint64_t seconds)
{
	static struct pace p;
	static struct link l;
	struct result r;

	p = (struct pace){0};
	l = (struct link){.rate = rate, .way = way * MS, .draw = draw * MS};
	r = run(&p, &l, 1000 * MS, 1000 * MS + seconds * 1000 * MS / 3, 1000 * MS + seconds * 1000 * MS, size);
	printf("%8.1f kB/s %3d ms %3d ms draw %7d B: %5.1f/s, %4d ms old, window %d\n", (double)rate / 1e3, (int)way, (int)draw, (int)size,
		r.updates, (int)(r.age / MS), (int)r.window);
	return r;
}

/* What one update takes, as long as nothing waits. */
static uint64_t alone(uint64_t rate, uint64_t draw, uint64_t size)
{
	return size * 1000 * MS / rate + draw * MS;
}

int main(void)
{
	static const uint16_t ways[] = {1, 20, 50, 100, 200, 400};
	static const uint32_t sizes[] = {200, 2000, 30000, 100000};
	struct pace p = {0};
	struct result r;
	uint32_t number;

	setvbuf(stdout, NULL, _IOLBF, 0);

	/* a link that is wide enough: all of it, and at once */
	for (unsigned i = 0; i < ARRAY_LEN(ways); i++)
		for (unsigned k = 0; k < ARRAY_LEN(sizes); k++) {
			r = fresh(12500000, ways[i], 3, sizes[k], 12);
			assert(r.updates > 29.0 && r.updates < 31);
			assert(r.age < alone(12500000, 3, sizes[k]) + 10 * MS);
		}
	/* narrow links: filled, with a queue of not much more than one update and one way, for minutes too (the probing must not make it grow) */
	for (unsigned i = 0; i < ARRAY_LEN(ways); i++) {
		r = fresh(125000, ways[i], 0, 30000, 60);
		assert(r.updates > 0.85 * 125000 / 30000);
		assert(r.age < 3 * alone(125000, 0, 30000) + ways[i] * MS + 34 * MS);
	}
	/* a viewer that draws slowly is not buried */
	r = fresh(12500000, 20, 100, 30000, 30);
	assert(r.updates > 8.5 && r.age < 400 * MS);
	/* the link becomes a tenth: the window follows */
	{
		struct link l = {.rate = 2500000, .way = 100 * MS};
		struct result narrow;

		r = run(&p, &l, 1000 * MS, 3000 * MS, 6000 * MS, 50000);
		l.rate = 250000;
		narrow = run(&p, &l, 6000 * MS, 16000 * MS, 40000 * MS, 50000);
		printf("wide %.1f/s window %d, then narrow %.1f/s %d ms old window %d\n", r.updates, (int)r.window, narrow.updates,
			(int)(narrow.age / MS), (int)narrow.window);
		assert(r.updates > 29 && narrow.updates > 4.2 && narrow.age < 1100 * MS && narrow.window < 160000);
	}
	/* answers that nobody waits for; a viewer that never answers */
	p = (struct pace){0};
	assert(!pace_acked(&p, 0, 1) && !pace_acked(&p, ~0u, 1));
	for (unsigned i = 0; i < PACE_FENCES; i++)
		assert(pace_fence(&p, 1, &number) && number == i);
	assert(!pace_fence(&p, 1, &number) && !pace_open(&p));
	assert(!pace_acked(&p, 64, 2) && pace_acked(&p, 63, 2) && !pace_acked(&p, 63, 2) && pace_open(&p));
	return 0;
}
