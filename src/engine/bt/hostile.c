/* SPDX-License-Identifier: MIT */
/*
 * What is for those who test the translator, by the environment variable HUSK_BT: words with commas between them.
 *
 *   hot=N      translate what has been executed N times; default 2
 *   verify     look at all code before it is run (verify.c); always so in builds without optimization
 *   hostile=N  at every Nth exit to C do something that is always allowed, and should never be noticed: forget
 *              TLB entries, jump caches, single blocks or all code, ask for attention without a reason.
 *              Blocks are translated at once and verified.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "engine/bt/bt-int.h"

static bool number(const char *word, const char *name, unsigned *out)
{
	size_t n = strlen(name);

	if (strncmp(word, name, n))
		return false;
	*out = (unsigned)strtoul(word + n, NULL, 10);
	return true;
}

void bt_options(struct bt_vm *v)
{
	const char *env = getenv("HUSK_BT");
	char text[100], *save = NULL;

#ifndef __OPTIMIZE__
	v->verify = true;
#endif
	v->hot = BT_HOT;
	if (!env)
		return;
	snprintf(text, sizeof text, "%s", env);
	for (char *w = strtok_r(text, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		if (!strcmp(w, "verify"))
			v->verify = true;
		else if (!number(w, "hot=", &v->hot) && !number(w, "hostile=", &v->hostile))
			log_warn("HUSK_BT: '%s' is not known: verify, hot=N, hostile=N", w);
	}
	if (v->hostile) {
		v->hot = 1;
		v->verify = true;
	}
	if (!v->hot)
		v->hot = 1;
}

/* An exit to C has been taken: is it time? Then it leaves code by itself, and the loop comes to bt_shake(). */
void bt_hostile_exit(struct bt_cpu *b)
{
	if (++b->exits_quiet < bt_vm(b->cpu.vm)->hostile)
		return;
	b->exits_quiet = 0;
	b->shake = true;
	attention_set(&b->cpu, ATTN_CODE); /* nobody has asked: what it drops will come back */
}

static uint64_t random_next(struct bt_cpu *b)
{
	uint64_t x = b->random ? b->random : 0x9e3779b97f4a7c15ull + b->cpu.id;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return b->random = x;
}

static void block_forget(struct bt_cpu *b, uint64_t r)
{
	struct bt_vm *v = bt_vm(b->cpu.vm);
	uint64_t gpa = UINT64_MAX;

	pthread_mutex_lock(&v->lock);
	if (v->nblocks > 1)
		gpa = v->blocks[1 + r % (v->nblocks - 1)].gpa;
	pthread_mutex_unlock(&v->lock);
	if (mem_page(v->vm.mem, gpa) != UINT64_MAX)
		bt_code_written(&v->vm, mem_page(v->vm.mem, gpa));
}

void bt_shake(struct bt_cpu *b)
{
	struct engine_cpu *c = &b->cpu;
	uint64_t r = random_next(b);

	b->shake = false;
	switch (r >> 8 & 15) {
	case 0:
		/* rarely: everything has to be translated again */
		if (!(r >> 16 & 15))
			bt_cache_flush(b);
		break;
	case 1: case 2: case 3:
		tlb_flush(c);
		break;
	case 4: case 5:
		tlb_flush_local(c);
		break;
	case 6: case 7:
		tlb_flush_page(c, c->rip);
		break;
	case 8: case 9:
		tlb_flush_page(c, c->s.gpr[X86_RSP]);
		break;
	case 10:
		bt_jc_clear(b);
		break;
	case 11:
		attention_set(c, ATTN_KICK);
		break;
	case 12:
		attention_set(c, ATTN_IRQ); /* the APIC knows of none */
		break;
	default:
		block_forget(b, r >> 20);
	}
}
