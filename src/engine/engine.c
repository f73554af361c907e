/* SPDX-License-Identifier: MIT */
/* Which engines there are, which of them work here, and which is best. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "engine/bt/bt.h"
#include "engine/engine.h"
#include "engine/kvm/kvm.h"

/* In order of preference; what comes behind interp is chosen by name only. */
static const struct cpu_engine *const engines[] = {&engine_kvm, &engine_bt, &engine_interp,
	&engine_check, NULL};

const struct cpu_engine *const *engine_list(void)
{
	return engines;
}

const struct cpu_engine *engine_find(const char *name)
{
	for (unsigned i = 0; engines[i]; i++)
		if (!strcmp(engines[i]->name, name))
			return engines[i];
	return NULL;
}

/*
 * The engines in software make host code at run time: in memory that is written through one mapping
 * and executed through another. SELinux, PaX or a seccomp filter may forbid that.
 */
static int probe_software(char *why, size_t len)
{
	static const char refused[] =
		"the host refuses executable memory (%s: %s): look at SELinux's "
		"execmem, vm.memfd_noexec and the container's seccomp profile";
	int fd = memfd_create("husk-probe", MFD_CLOEXEC), rc = 0;
	void *p;

	if (fd < 0) {
		rc = -errno;
		snprintf(why, len, refused, "memfd_create", strerror(-rc));
		return rc;
	}
	p = ftruncate(fd, MEM_PAGE)
		    ? MAP_FAILED
		    : mmap(NULL, MEM_PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		rc = -errno;
		snprintf(why, len, refused, "mmap", strerror(-rc));
	} else {
		munmap(p, MEM_PAGE);
		snprintf(why, len, "works");
	}
	close(fd);
	return rc;
}

int engine_probe(const struct cpu_engine *eng, char *why, size_t len)
{
	if (eng == &engine_kvm)
		return kvm_probe(why, len);
	if (eng != &engine_interp && !bt_host_fits()) {
		snprintf(why, len, "this CPU lacks BMI1, BMI2, LZCNT, MOVBE or POPCNT");
		return -ENOTSUP;
	}
	return probe_software(why, len);
}

const struct cpu_engine *engine_choose(char *why, size_t len)
{
	const struct cpu_engine *eng = NULL;
	size_t at = 0;

	if (len)
		why[0] = 0;
	/* The last one is taken in any case: it fails with better words than we have here. */
	for (unsigned i = 0; eng != &engine_interp; i++) {
		char one[400];
		int rc = engine_probe(engines[i], one, sizeof one);

		eng = engines[i];
		if (at < len)
			at += (size_t)snprintf(
				why + at, len - at, "%s%s: %s", i ? "; " : "", eng->name, one);
		if (!rc)
			break;
	}
	return eng;
}
