/* SPDX-License-Identifier: MIT */
#include "base/util.h"
#include "cmd/restart.h"

int64_t restart_after(struct restart *r, const struct restart_death *d)
{
	bool soon = !d->ready_ns || d->now_ns - d->ready_ns < RESTART_SOON_NS;
	bool early = !d->ready_ns || (soon && d->own_fault);
	uint64_t oldest;

	r->early = early ? r->early + 1 : 0;
	r->quick = soon ? r->quick + 1 : 0;
	if (r->early >= RESTART_TRIES)
		return -1;
	if (d->own_fault) {
		/* the one that is about to be overwritten is RESTART_FAULTS deaths ago */
		oldest = r->fault_ns[r->nfaults % RESTART_FAULTS];
		r->fault_ns[r->nfaults % RESTART_FAULTS] = d->now_ns;
		if (r->nfaults++ >= RESTART_FAULTS && d->now_ns - oldest < RESTART_FAULTS_NS)
			return -1;
	}
	if (r->quick <= 3)
		return 0;
	return (int64_t)min_u64((r->quick - 3) * RESTART_STEP_NS, RESTART_MOST_NS);
}
