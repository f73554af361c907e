#!/bin/sh
# SPDX-License-Identifier: MIT
# Every table, taken apart by ACPICA's iasl and compiled again: no error and no warning, and the DSDT
# comes out the same, byte for byte. $1: acpi-test.
set -u
test=$(realpath "$1")
command -v iasl >/dev/null || { echo "iasl is not installed (acpica-tools): skipped"; exit 77; }
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
fail=0
for cpus in 1 2 64 300; do
	mkdir "$dir/$cpus"
	"$test" --dump "$cpus" "$dir/$cpus" || exit 1
	cd "$dir/$cpus" || exit 1
	for t in *.aml; do
		n=${t%.aml}
		cp "$t" "$n.orig"
		if ! iasl -d "$t" >"$n.log" 2>&1; then
			echo "$cpus CPUs: iasl -d $t fails:"; cat "$n.log"; fail=1; continue
		fi
		if grep -n -i -E 'invalid|unknown|error|should be' "$n.dsl"; then
			echo "$cpus CPUs: iasl finds fault with $n"; fail=1
		fi
		if ! iasl -we -oa -p "$n" "$n.dsl" >"$n.log" 2>&1; then
			echo "$cpus CPUs: $n does not compile again:"; cat "$n.log"; fail=1; continue
		fi
		# Compiler id and revision, and with them the checksum, are iasl's own
		cmp -l "$n.orig" "$n.aml" | awk '!($1 == 10 || $1 >= 29 && $1 <= 36) { bad = 1 }
			END { exit bad }' || { echo "$cpus CPUs: $n changed by a round trip"; fail=1; }
	done
done
exit $fail
