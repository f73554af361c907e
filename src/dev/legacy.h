/* SPDX-License-Identifier: MIT */
/*
 * The small devices of the board. Each _new() maps itself on the bus, exits when out of memory and
 * asserts when its place is taken (set-up only); none returns NULL. Each has its file; register meaning
 * follows the datasheet named there. _free() is for after the last access; a device with a timer is
 * freed on the loop's thread or when that has ended.
 */
#ifndef DEV_LEGACY_H
#define DEV_LEGACY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "bus/bus.h"

/* 16550A at base. tx() gets each byte the guest sends (lock held; must not block). */
struct uart;
struct uart *uart_new(struct bus *b, uint16_t base, struct irq irq,
	void (*tx)(void *arg, const uint8_t *p, size_t n), void *arg);
void uart_free(struct uart *u);
/* Input from outside, lock held: how many bytes it took (a bounded queue stands before the FIFO). */
size_t uart_rx(struct uart *u, const uint8_t *p, size_t n);
size_t uart_rx_room(const struct uart *u);
void uart_break(struct uart *u); /* the line was held low: SysRq on Linux */
/* Called with the lock held when there is room again after uart_rx() took less than it was given. */
void uart_on_room(struct uart *u, void (*room)(void *arg), void *arg);

/* MC146818 clock and CMOS at 0x70: UTC from the host; periodic, alarm and update interrupts on irq. */
struct rtc;
struct rtc *rtc_new(struct bus *b, struct loop *l, struct irq irq, uint64_t low_mem, uint64_t high_mem);
void rtc_free(struct rtc *r);

/* The pair of 8259As at 0x20 and 0xa0 with ELCR at 0x4d0; intr: level of the INTR output. */
struct pic;
struct pic *pic_new(struct bus *b, void (*intr)(void *arg, bool level), void *arg);
void pic_free(struct pic *p);
void pic_set(void *p, unsigned line, bool level); /* struct irq's set */
int pic_ack(void *p);                             /* vector (spurious ones, too) */

/* 8254 at 0x40 and port 0x61; channel 0 on irq. */
struct pit;
struct pit *pit_new(struct bus *b, struct loop *l, struct irq irq);
void pit_free(struct pit *p);

/*
 * i8042 at 0x60/0x64 (and port 0x92) with a keyboard and a PS/2 mouse (with a wheel and five buttons, if the driver asks
 * by IntelliMouse' knock); reset() on command 0xfe.
 */
struct i8042;
struct i8042 *i8042_new(struct bus *b, struct irq kbd, struct irq aux, void (*reset)(void *arg), void *arg);
void i8042_free(struct i8042 *k);
/* A key's bytes in scan code set 2 (at most 8), lock held: n, or 0 when the guest has no room or stopped
 * the keyboard. */
size_t i8042_key(struct i8042 *k, const uint8_t *p, size_t n);
/*
 * The mouse moved by dx right, dy down and wheel notches up, and its buttons (bit 0 left, 1 right, 2 middle, 3 side, 4 extra)
 * are so now; lock held. What there is no room for in a report is kept and added to the next. False if the guest does
 * not listen to it (then nothing is kept).
 */
bool i8042_mouse(struct i8042 *k, int32_t dx, int32_t dy, int32_t wheel, unsigned buttons);
/* Called with the lock held: the guest read a byte, so there may be room; or it has set its LEDs (enum input_led). */
void i8042_notify(struct i8042 *k, void (*room)(void *arg), void (*leds)(void *arg, uint32_t leds), void *arg);

/*
 * ACPI hardware: power management timer (24/32 bit, 3.579545 MHz) at 0x608, sleep control 0x600 and
 * status 0x601 (hardware-reduced), reset register 0x602 (value 1), GED status 0x604: bit 0 power button;
 * reading clears. The power button raises ged_irq. Also answers 0xcf9 (reset control register).
 */
struct acpi_pm_ops {
	void (*poweroff)(void *arg); /* S5 */
	void (*reset)(void *arg);
	void *arg;
};
enum { ACPI_PM_SLEEP_CONTROL = 0x600, ACPI_PM_SLEEP_STATUS = 0x601, ACPI_PM_RESET = 0x602,
	ACPI_PM_RESET_VALUE = 1, ACPI_PM_GED = 0x604, ACPI_PM_TIMER = 0x608, ACPI_PM_S5_TYPE = 5,
	ACPI_PM_GED_BUTTON = 1, ACPI_PM_GED_IRQ = 9, PVPANIC_PORT = 0x505 };
struct acpi_pm;
struct acpi_pm *acpi_pm_new(struct bus *b, struct irq ged_irq, const struct acpi_pm_ops *ops);
void acpi_pm_free(struct acpi_pm *p);
void acpi_pm_button(struct acpi_pm *p); /* lock held */

/*
 * Debug devices: port 0xe9 (text out, tx), port 0xf4 (exit: the guest asks to end with status
 * (value << 1) | 1), pvpanic at PVPANIC_PORT (QEMU docs/specs/pvpanic: bit 0 panicked, bit 1 crash
 * loaded; reads give 3), and port 0x80 (POST code, swallowed).
 */
struct debug_ops {
	void (*tx)(void *arg, uint8_t byte);
	void (*exit)(void *arg, uint32_t value);
	void (*panicked)(void *arg, uint8_t events);
	void *arg;
};
struct debugport;
struct debugport *debugport_new(struct bus *b, const struct debug_ops *ops);
void debugport_free(struct debugport *d);

/* pc-testdev of kvm-unit-tests: ports 0xe0-0xe3, 0xe4, 0xe8, 0x2000-0x2017 (irq lines), 64 KiB of
 * RAM-like MMIO at 0xff000000. lines: ioapic_set-like function for line n. */
struct testdev;
struct testdev *testdev_new(struct bus *b, void (*line)(void *arg, unsigned line, bool level), void *arg);
void testdev_free(struct testdev *t);

/* QEMU's fw_cfg at 0x510/0x511 with the few selectors kvm-unit-tests reads (ID 0x00/0x01, RAM size 3,
 * NB_CPUS 5, MAX_CPUS 0xf); part of the test devices, only behind the flag. */
struct fwcfg;
struct fwcfg *fwcfg_new(struct bus *b, uint64_t ram, unsigned ncpus);
void fwcfg_free(struct fwcfg *f);

#endif
