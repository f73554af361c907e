/* SPDX-License-Identifier: MIT */
/*
 * boot-dump KERNEL INITRD APPEND DIR: what boot_load() and acpi_build() make, as files for qemu.sh:
 * guest RAM around the hole for firmware (low.bin, acpi.bin, high.bin) and the entry state
 * (entry.inc). For two CPUs and 256 MiB.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "dev/acpi.h"
#include "vm/boot.h"

#define RAM (256 * MIB)

static const uint8_t *map_file(const char *path, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st) ||
		(p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED) {
		perror(path);
		exit(1);
	}
	close(fd);
	*len = (size_t)st.st_size;
	return p;
}

static FILE *file(const char *dir, const char *name)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "wb");
	if (!f) {
		perror(path);
		exit(1);
	}
	return f;
}

static void save(const char *dir, const char *name, const struct mem *m, uint64_t gpa, uint64_t len)
{
	FILE *f = file(dir, name);

	if (fwrite(mem_at(m, gpa, len), 1, len, f) != len || fclose(f)) {
		perror(name);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	struct acpi_config a = {.ncpus = 2, .mmio64_base = 64 * GIB, .mmio64_size = GIB};
	struct boot_config c = {.acpi_rsdp = ACPI_RSDP_ADDR, .ncpus = 2};
	struct x86_state s = {.cr0 = X86_CR0_ET};
	struct boot_result r;
	struct err e = {0};
	struct mem m;
	FILE *f;

	if (argc != 5)
		return 2;
	c.kernel = map_file(argv[1], &c.kernel_len);
	c.initrd = map_file(argv[2], &c.initrd_len);
	c.append = argv[3];
	if (mem_init(&m, RAM, &e) ||
		acpi_build(&a, mem_at(&m, ACPI_RSDP_ADDR, ACPI_AREA_SIZE), ACPI_AREA_SIZE, &e) <
			0 ||
		boot_load(&c, &m, &s, &r, &e)) {
		fprintf(stderr, "%s\n", e.text);
		return 1;
	}
	printf("%s\n", r.note);
	save(argv[4], "low.bin", &m, 0, 0xa0000);
	save(argv[4], "acpi.bin", &m, ACPI_RSDP_ADDR, 0x10000);
	save(argv[4], "high.bin", &m, MIB, RAM - MIB);
	f = file(argv[4], "entry.inc");
#define LINE(name, v) fprintf(f, "%%define %s 0x%llx\n", name, (unsigned long long)(v))
	LINE("LONG", !!x86_long_mode(&s));
	LINE("RIP", s.rip);
	LINE("RSI", s.gpr[X86_RSI]);
	LINE("RAX", s.gpr[X86_RAX]);
	LINE("RBX", s.gpr[X86_RBX]);
	LINE("CR0", s.cr0);
	LINE("CR3", s.cr3);
	LINE("CR4", s.cr4);
	LINE("GDT", s.gdt.base);
	LINE("GDT_LIMIT", s.gdt.limit);
	mem_fini(&m);
	return fclose(f) != 0;
}
