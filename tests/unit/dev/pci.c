/* SPDX-License-Identifier: MIT */
/* Configuration space by the window and by the ports. */
#include <errno.h>

#include "bus/pci.h"
#include "fake.h"

#define ECAM UINT64_C(0xe8000000)

static unsigned written, written_off, written_len;

static void on_write(struct pci_func *f, unsigned off, unsigned len)
{
	(void)f;
	written++;
	written_off = off;
	written_len = len;
}

static uint64_t ecam(unsigned slot, unsigned fn, unsigned off, unsigned len)
{
	return bus_read(fake_bus, BUS_MMIO, 0, ECAM + (slot << 15 | fn << 12 | off), len);
}

static void address(unsigned slot, unsigned fn, unsigned off)
{
	out(0xcf8, 0x80000000u | slot << 11 | fn << 8 | off, 4);
}

int main(void)
{
	struct pci_func f = {.config = {0x34, 0x12, 0x78, 0x56}, .wmask = {[4] = 0x07, [0x10] = 0xf0, [0x13] = 0xff},
		.written = on_write};
	struct pci *p;

	fake_bus = bus_new();
	p = pci_new(fake_bus, &(struct pci_config){.ecam_base = ECAM, .ecam_size = 128 << 20});
	assert(pci_add(p, 32, 0, &f, NULL) == -EINVAL && pci_add(p, 1, 8, &f, NULL) == -EINVAL);
	assert(pci_add(p, 0, 0, &f, NULL) == -EEXIST);
	assert(pci_add(p, 3, 1, &f, NULL) == 0);

	/* the host bridge, and nothing */
	assert(ecam(0, 0, 0, 4) == 0x00081b36 && ecam(0, 0, 8, 4) == 0x06000000);
	assert(ecam(0, 0, 0x2c, 4) == 0x11001af4);
	assert(ecam(0, 0, 0, 8) == 0x0000000000081b36);
	assert(ecam(1, 0, 0, 4) == 0xffffffff && ecam(3, 0, 0, 2) == 0xffff);
	assert(bus_read(fake_bus, BUS_MMIO, 0, ECAM + (1 << 20), 4) == 0xffffffff); /* bus 1 */
	assert(bus_read(fake_bus, BUS_MMIO, 0, ECAM + (127 << 20), 4) == 0xffffffff);

	/* ports: same contents, byte and word lanes; only dwords reach the address */
	address(0, 0, 0);
	assert(in(0xcf8, 4) == 0x80000000);
	assert(in(0xcfc, 4) == 0x00081b36 && in(0xcfe, 2) == 0x0008 && inb(0xcfd) == 0x1b);
	out(0xcf8, 0x11, 1);
	assert(in(0xcf8, 4) == 0x80000000 && inb(0xcf8) == 0xff);
	out(0xcf8, 0, 4);
	assert(in(0xcfc, 4) == 0xffffffff); /* not enabled */
	out(0xcf8, 0xffffffff, 4);
	assert(in(0xcf8, 4) == 0x80fffffc && in(0xcfc, 4) == 0xffffffff);

	/* write masks, from both sides */
	address(3, 1, 4);
	out(0xcfc, 0xffff, 2);
	assert(in(0xcfc, 2) == 0x0007 && written == 1 && written_off == 4 && written_len == 2);
	bus_write(fake_bus, BUS_MMIO, 0, ECAM + (3 << 15 | 1 << 12 | 0x10), 0xffffffff, 4);
	assert(ecam(3, 1, 0x10, 4) == 0xff0000f0 && written == 2);
	bus_write(fake_bus, BUS_MMIO, 0, ECAM + (3 << 15 | 1 << 12), 0, 4);
	assert(ecam(3, 1, 0, 4) == 0x56781234);

	/* the extended space is empty; an access over its end, or over the end of 256 bytes, breaks nothing */
	assert(ecam(3, 1, 0x100, 4) == 0);
	written = 0;
	bus_write(fake_bus, BUS_MMIO, 0, ECAM + (3 << 15 | 1 << 12 | 0xfe), UINT32_MAX, 4);
	assert(written == 1 && written_len == 2);
	bus_write(fake_bus, BUS_MMIO, 0, ECAM + (3 << 15 | 1 << 12 | 0x100), UINT32_MAX, 4);
	assert(written == 1);
	assert(ecam(3, 1, 0xffe, 4) == 0xffff0000);
	bus_reset(fake_bus);
	assert(in(0xcf8, 4) == 0);
	pci_free(p);
	bus_free(fake_bus);
	return 0;
}
