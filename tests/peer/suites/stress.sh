# SPDX-License-Identifier: MIT
# shellcheck shell=dash disable=SC2015,SC2154 # ok and bad do not fail; init sets suite_long
# In the guest: stress-ng's stressors that verify what they computed, stopped by a count of operations. A row is
# the stressor, operations in the quick form, and further options.
factor=1
[ "$suite_long" != 1 ] || factor=200
stress()
{
	name=$1 ops=$(($2 * factor))
	shift 2
	if stress-ng --"$name" 2 --"$name"-ops "$ops" --verify --timeout 3000 --temp-path /tmp "$@" >/tmp/stress 2>&1 &&
		! grep -qiE 'fail|error|mismatch|inconsist' /tmp/stress; then
		ok "$name"
	else
		grep -iE 'fail|error|mismatch|inconsist' /tmp/stress | head -n 5
		bad "$name"
	fi
}
while read -r name ops more; do
	# shellcheck disable=SC2086 # words
	case $name in ''|\#*) ;; *) stress "$name" "$ops" $more </dev/null ;; esac
done </stress.list
