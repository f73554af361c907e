/* SPDX-License-Identifier: MIT */
#include "base/util.h"
#include "rfb/pace-int.h"

static const uint64_t RTT_KEEP_NS = 10000000000u;
static const uint64_t SECOND_NS = 1000000000u;

uint64_t pace_window(const struct pace *p)
{
	uint64_t rate = 0, w;

	for (unsigned i = 0; i < PACE_RATES; i++)
		rate = max_u64(rate, p->rate[i]);
	w = (uint64_t)((double)rate * 2.0 * (double)p->rtt_ns / (double)SECOND_NS) + p->size / 4 * 3;
	return min_u64(max_u64(w, PACE_WINDOW_MIN), PACE_WINDOW_MAX);
}

bool pace_open(const struct pace *p)
{
	return !p->probing && p->sent - p->acked < pace_window(p) && p->next - p->first < PACE_FENCES;
}

void pace_sent(struct pace *p, uint64_t bytes)
{
	p->sent += bytes;
	p->size = bytes > p->size ? bytes : (p->size * 7 + bytes) / 8;
}

bool pace_fence(struct pace *p, uint64_t now, uint32_t *number)
{
	struct pace_fence *f = &p->fence[p->next % PACE_FENCES];

	if (p->next - p->first >= PACE_FENCES)
		return false;
	if (p->first == p->next)
		p->acked_ns = now; /* nothing was under way: time before this is not the viewer's */
	*f = (struct pace_fence){.at = p->sent, .acked = p->acked, .ns = now, .acked_ns = p->acked_ns, .limited = true};
	*number = p->next++;
	return true;
}

bool pace_probe(struct pace *p, uint64_t now, uint32_t *number)
{
	if (!p->probing || p->probe_out || p->first != p->next)
		return false;
	p->probe_out = true;
	p->probe = p->next;
	return pace_fence(p, now, number);
}

void pace_blocked(struct pace *p)
{
	for (uint32_t i = p->first; i != p->next; i++)
		p->fence[i % PACE_FENCES].limited = false;
}

static void count_rate(struct pace *p, const struct pace_fence *f, uint64_t now)
{
	uint64_t took = now - f->acked_ns, bytes = p->acked - f->acked, rate;

	if (!took)
		return;
	rate = (uint64_t)((double)bytes * (double)SECOND_NS / (double)took);
	if (f->acked >= p->round_end) {
		/* all that was under way when the last round began has come back: another round */
		p->round_end = p->sent;
		if (!f->limited) {
			p->round = (p->round + 1) % PACE_RATES;
			p->rate[p->round] = 0;
		}
	}
	if (rate > p->rate[p->round])
		p->rate[p->round] = rate;
}

bool pace_acked(struct pace *p, uint32_t number, uint64_t now)
{
	struct pace_fence f;
	uint64_t rtt;

	if (number - p->first >= p->next - p->first)
		return false;
	f = p->fence[number % PACE_FENCES];
	p->first = number + 1;
	p->acked = f.at;
	p->acked_ns = now;
	rtt = max_u64(now - f.ns, 1);
	p->last_rtt_ns = rtt;
	if (p->probe_out && number == p->probe) {
		p->rtt_ns = rtt;
		p->rtt_at = now;
		p->probing = p->probe_out = false;
	} else if (!p->rtt_ns || rtt < p->rtt_ns) {
		p->rtt_ns = rtt;
		p->rtt_at = now;
	} else if (rtt <= p->rtt_ns + p->rtt_ns / 4) {
		p->rtt_at = now;
	} else if (!p->probing && now - p->rtt_at > RTT_KEEP_NS) {
		p->probing = true;
	}
	count_rate(p, &f, now);
	return true;
}
