# SPDX-License-Identifier: MIT
# A thin front to Meson and the scripts in tools/; "make help" lists what there is.
BUILD   ?= build/rel
PREFIX  ?= /usr/local
GUEST    = build/guest

.PHONY: help deps build guest run check bench bench-io bench-display install clean

help:
	@echo 'make run      build, and boot the default guest on this terminal (Ctrl-] is the escape key)'
	@echo 'make check    all tests; ends with "N passed, N failed"'
	@echo 'make build    $(BUILD)/src/cmd/husk'
	@echo 'make guest    the default guest: $(GUEST)/vmlinuz and initrd.img'
	@echo 'make deps     install the Debian packages that are missing, for run and check'
	@echo 'make bench    CPU seconds of boot and 35 workloads: native, husk, QEMU TCG (ARGS=-q: a minute)'
	@echo 'make bench-io disk and network in a Debian guest: husk, QEMU TCG (ARGS="-n 5": long form)'
	@echo 'make bench-display  RFB: husk, TigerVNC, libvncserver, QEMU (ARGS=-q: a short round)'
	@echo 'make install  to PREFIX=$(PREFIX) (and DESTDIR)'
	@echo 'make clean    remove build/; the downloaded kernels in .cache stay'

deps:
	@tools/deps check

$(BUILD)/build.ninja:
	@tools/deps run
	meson setup $(BUILD) --prefix=$(PREFIX)

build: $(BUILD)/build.ninja
	ninja -C $(BUILD)

guest:
	@tools/deps run
	@tools/fetch-kernels cloud
	@tools/mkguest cloud $(GUEST)

run: build guest
	@$(BUILD)/src/cmd/husk run $(ARGS)

check:
	@tools/deps check
	@tools/check

bench: build
	@tools/deps check
	@tools/fetch-kernels cloud
	@HUSK=$${HUSK:-$(CURDIR)/$(BUILD)/src/cmd/husk} bench/cpu $(ARGS)

bench-io: build
	@tools/deps check
	@tools/fetch-kernels cloud
	@tools/mkdebian
	@HUSK=$${HUSK:-$(CURDIR)/$(BUILD)/src/cmd/husk} HUSK_DEBIAN_TOOL=$(CURDIR)/$(BUILD)/tests/peer/debian/debian-tool \
		bench/guest-io $(ARGS)

bench-display: build
	@tools/deps check
	@HUSK_BUILD=$(CURDIR)/$(BUILD) bench/display/run $(ARGS)

install: build guest
	meson configure $(BUILD) --prefix=$(PREFIX)
	DESTDIR=$(DESTDIR) meson install -C $(BUILD)
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/husk/guest $(GUEST)/vmlinuz $(GUEST)/initrd.img

clean:
	rm -rf build
