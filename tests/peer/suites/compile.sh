# SPDX-License-Identifier: MIT
# shellcheck shell=dash
# On the host and in the guest: gcc compiles a part of husk, twice, and links a program that uses it. Prints the sums
# of all that comes out. The arguments are the source files; the folder it runs in is the source tree in both.
out=${TMPDIR:-/tmp}/out
mkdir -p "$out"
sum() { echo "$1 $(busybox sha256sum | cut -c 1-32)"; }
objects=
for f; do
	o=$out/$(echo "$f" | tr / _)
	gcc -std=c11 -D_GNU_SOURCE -O2 -g -Wall -Isrc -S -o "$o.s" "$f" || echo "compile $f failed"
	sum "$f.s" <"$o.s"
	gcc -std=c11 -D_GNU_SOURCE -O2 -Isrc -c -o "$o.o" "$f" || echo "compile $f failed"
	sum "$f.o" <"$o.o"
	objects="$objects $o.o"
done
# shellcheck disable=SC2086 # a list
gcc -o "$out/program" $objects || echo "link failed"
sum program <"$out/program"
"$out/program" | sum output
