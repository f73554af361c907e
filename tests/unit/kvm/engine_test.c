/* SPDX-License-Identifier: MIT */
/* Which engine is taken and why, in situations that a host can be in. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "engine/bt/bt.h"
#include "engine/engine.h"

/* Runs fn in a child that may spoil its process; its asserts are ours. */
static void in_child(void (*fn)(void))
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		fn();
		_exit(0);
	}
	assert(pid > 0 && waitpid(pid, &status, 0) == pid);
	assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void no_more_files(void)
{
	const struct rlimit none = {0, 0};
	char why[600];

	assert(!setrlimit(RLIMIT_NOFILE, &none));
	assert(engine_probe(&engine_kvm, why, sizeof why) < 0 && strstr(why, "/dev/kvm"));
	assert(engine_probe(&engine_interp, why, sizeof why) < 0 && strstr(why, "memfd_create"));
	/* nothing works: the last resort all the same, with both reasons */
	assert(engine_choose(why, sizeof why) == &engine_interp);
	assert(!strncmp(why, "kvm: ", 5) && strstr(why, "; interp: the host refuses"));
}

static void nobody(void)
{
	char why[600];

	assert(!setgid(65534) && !setuid(65534));
	if (!access("/dev/kvm", R_OK | W_OK))
		return; /* everybody may */
	assert(engine_probe(&engine_kvm, why, sizeof why) == -EACCES);
	assert(strstr(why, "no permission") && strstr(why, "usermod"));
}

int main(void)
{
	const struct cpu_engine *const *list = engine_list(), *got;
	char why[600], kvm[600], small[8];
	uint64_t began = now_ns();
	int rc;

	assert(list[0] == &engine_kvm && list[1] == &engine_bt && list[2] == &engine_interp);
	assert(list[3] == &engine_check && !list[4]); /* behind interp: never chosen */
	for (unsigned i = 0; list[i]; i++) {
		assert(engine_find(list[i]->name) == list[i] && list[i]->about[0]);
		/* what an engine must have */
		assert(list[i]->vm_new && list[i]->vm_free && list[i]->cpu_new && list[i]->cpu_free);
		assert(list[i]->run && list[i]->kick && list[i]->irq && list[i]->nmi);
		assert(list[i]->get && list[i]->set && (list[i]->code_changed || list[i] == &engine_kvm) && list[i]->error);
		/* either local APICs of its own and messages for them, or the board's */
		assert(list[i]->own_lapic ? list[i]->msi != NULL : list[i]->init && list[i]->sipi);
	}
	assert(!engine_find("nope") && !engine_find(""));

	rc = engine_probe(&engine_kvm, kvm, sizeof kvm);
	printf("kvm: %s (%d)\n", kvm, rc);
	assert(kvm[0] && !strchr(kvm, '\n'));
	assert(engine_probe(&engine_interp, why, sizeof why) == 0);
	assert(engine_probe(&engine_bt, why, sizeof why) == (bt_host_fits() ? 0 : -ENOTSUP));
	got = engine_choose(why, sizeof why);
	printf("chosen: %s, %s\n", got->name, why);
	assert(got == (!rc ? &engine_kvm : bt_host_fits() ? &engine_bt : &engine_interp));
	assert(!strncmp(why, "kvm: ", 5) && !!strstr(why, bt_host_fits() ? "; bt: works" : "; interp: works") == !!rc);
	/* the words are cut, nothing else */
	assert(engine_choose(small, sizeof small) == got && strlen(small) == sizeof small - 1);
	assert(engine_choose(NULL, 0) == got);
	/* never hangs: five probes, each bounded by two seconds of set-up and 30 ms of run */
	assert(now_ns() - began < 15000000000u);

	in_child(no_more_files);
	if (!getuid())
		in_child(nobody);
	return 0;
}
