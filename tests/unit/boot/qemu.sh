#!/bin/sh
# SPDX-License-Identifier: MIT
# The loaders and ACPI tables without husk's CPU and devices: QEMU's (TCG, microvm board) take over where
# boot_load() leaves off and must bring Debian's kernels to init with two CPUs found in our MADT,
# a serial interrupt from our DSDT, and an initrd of two parts, one packed. $1: boot-dump.
set -u
dump=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
kernels=${HUSK_KERNELS_DIR:-${HUSK_SOURCE_ROOT:-$here/../../..}/.cache/kernels}
for tool in qemu-system-x86_64 nasm cpio xz busybox; do
	command -v $tool >/dev/null || { echo "$tool is not installed: skipped"; exit 77; }
done
[ -f "$kernels/generic/vmlinuz" ] || { echo "no kernels in $kernels: skipped"; exit 77; }
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1

mkdir -p root/bin root/proc root/sys mc/kernel/x86/microcode
cp "$(command -v busybox)" root/bin/busybox
cat >root/init <<'END'
#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
echo "cpus: $(nproc)"
echo "acpi: $(ls /sys/bus/acpi/devices | tr '\n' ' ')"
echo "text: $(grep ' _text$' /proc/kallsyms) $(grep 'Kernel code' /proc/iomem)"
echo "ged: $(grep ACPI:Ged /proc/interrupts)"
echo "serial: $(grep ttyS0 /proc/interrupts)"
echo "init: done"
reboot -f
END
chmod +x root/init
head -c 3001 "$(command -v busybox)" >mc/kernel/x86/microcode/none.bin
(cd mc && find . | cpio -o -H newc --quiet) >initrd
(cd root && find . | cpio -o -H newc --quiet) | xz --check=crc32 -0 -c >>initrd

fail=0
# run NAME KERNEL APPEND PATTERN...: every pattern is in what the guest printed
run()
{
	name=$1 kernel=$2 append=$3
	shift 3
	"$dump" "$kernel" initrd "console=ttyS0 panic=-1 reboot=t $append" . || { fail=1; return; }
	nasm -f bin -i . -o stub.bin "$here/qemu-stub.asm" || { fail=1; return; }
	# No clock for calibration on this board: the kernel is told (QEMU's TSC has 1 GHz)
	timeout 100 qemu-system-x86_64 -M microvm,acpi=off,isa-serial=on,x-option-roms=off -cpu max -smp 2 \
		-m 256 -bios stub.bin -device loader,file=low.bin,addr=0,force-raw=on \
		-device loader,file=acpi.bin,addr=0xe0000,force-raw=on \
		-device loader,file=high.bin,addr=0x100000,force-raw=on \
		-display none -serial stdio -no-reboot </dev/null >log 2>&1
	for pattern in "init: done" "cpus: 2" "_OSC: OS now controls" "ACPI0013:00 .*PNP0A08:00 .*QEMU0001:00" \
		"ged: .*IO-APIC *9-fasteoi" "serial: .*IO-APIC *4-edge" "$@"; do
		if ! grep -q "$pattern" log; then
			echo "$name: no \"$pattern\" in:"
			tail -60 log
			fail=1
			return
		fi
	done
	if grep -i -E 'ACPI (BIOS )?(Error|Warning)|firmware bug|BUG:|mapped wrong' log; then
		echo "$name: the kernel complains"
		fail=1
	fi
	grep text: log
}
tsc="tsc_early_khz=1000000 tsc=reliable"
run "cloud kernel" "$kernels/cloud/vmlinuz" "$tsc" 'text: '
run "generic kernel without KASLR" "$kernels/generic/vmlinuz" "$tsc nokaslr" \
	'text: ffffffff81000000 .*01000000-'
# The vmlinux by itself: PVH
off=$(od -A n -t u4 -j 584 -N 4 "$kernels/generic/vmlinuz")
len=$(od -A n -t u4 -j 588 -N 4 "$kernels/generic/vmlinuz")
sects=$(od -A n -t u1 -j 497 -N 1 "$kernels/generic/vmlinuz")
if tail -c +$(((sects + 1) * 512 + off + 1)) "$kernels/generic/vmlinuz" | head -c "$((len - 4))" |
	xz -dc >vmlinux 2>/dev/null; then
	run "vmlinux by PVH" vmlinux "$tsc" 'text: ffffffff81000000 .*01000000-'
else
	echo "the generic kernel is not packed with xz: PVH not tested"
fi
exit $fail
