#!/bin/sh
# SPDX-License-Identifier: MIT
#
# mkouter.sh OUT MODULES JOB [FILE[=PATH]]...
#
# Makes OUT, an initramfs in which /dev/kvm works when a Linux kernel boots it on a machine with SVM or
# VMX. MODULES is the folder lib/modules/VERSION of that kernel's package. The guest loads kvm, runs the
# shell script JOB as root, prints "OUTER-EXIT status" on the console and powers off. Each FILE is
# copied to PATH (default: /bin/NAME), folders as they are; a program brings its shared libraries along.
set -eu
[ $# -ge 3 ] || { sed -n '3,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
out=$1 modules=$2 job=$3
shift 3

busybox=$(command -v busybox) || { echo "mkouter: no busybox (apt-get install busybox-static)" >&2; exit 77; }
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/run" "$root/modules"

# libraries PROGRAM: copies what the dynamic linker would load, the linker itself included
libraries() {
	{ ldd "$1" 2>/dev/null || :; } | grep -o '/[^ )]*' | while read -r lib; do
		[ -e "$root$lib" ] && continue
		mkdir -p "$root${lib%/*}"
		cp -L "$lib" "$root$lib"
	done
}

cp -L "$busybox" "$root/bin/busybox"
libraries "$busybox"
for name in $("$busybox" --list); do
	[ "$name" = busybox ] || ln -s busybox "$root/bin/$name"
done
# in the order in which they need each other
for m in virt/lib/irqbypass drivers/crypto/ccp/ccp arch/x86/kvm/kvm arch/x86/kvm/kvm-amd \
		arch/x86/kvm/kvm-intel; do
	found=$(find "$modules/kernel/${m%/*}" -name "${m##*/}.ko*" | head -n 1)
	[ -n "$found" ] || { echo "mkouter: no module $m in $modules" >&2; exit 1; }
	cp "$found" "$root/modules/"
done
cp "$job" "$root/job"
for arg; do
	file=${arg%%=*}
	path=/bin/${file##*/}
	case $arg in *=*) path=${arg#*=} ;; esac
	mkdir -p "$root${path%/*}"
	cp -rL "$file" "$root$path"
	[ -d "$file" ] || libraries "$file"
done

cat >"$root/init" <<'EOF'
#!/bin/sh
export PATH=/bin HOME=/tmp XDG_RUNTIME_DIR=/run TERM=dumb
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
for m in irqbypass ccp kvm kvm-amd kvm-intel; do
	[ -e /dev/kvm ] || insmod /modules/$m.ko* 2>/dev/null
done
[ -e /dev/kvm ] || echo "OUTER: no /dev/kvm"
chmod 755 /job 2>/dev/null
sh /job </dev/null
echo "OUTER-EXIT $?"
sync
poweroff -f
EOF
chmod 755 "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1) >"$out.tmp"
mv "$out.tmp" "$out"
