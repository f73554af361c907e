# SPDX-License-Identifier: MIT
# shellcheck shell=dash disable=SC2015,SC2154,SC2094 # ok and bad do not fail; init sets suite_long
# In the guest: modules that test something when they are loaded.
insmod /lib/modules/test_static_key_base.ko && insmod /lib/modules/test_static_keys.ko && ok static_keys || bad static_keys
insmod /lib/modules/test_user_copy.ko && ok user_copy || bad user_copy
echo 1 >/proc/sys/net/core/bpf_jit_enable
dmesg -n 4
# Tests with loops of ten thousands of runs are for the long form.
if [ "$suite_long" = 1 ]; then
	insmod /lib/modules/test_bpf.ko
else
	insmod /lib/modules/test_bpf.ko test_suite=test_bpf test_range=0,400
fi
dmesg | grep 'test_bpf: .*Summary' | tee /tmp/summary
dmesg | grep 'test_bpf: .*FAIL' | head -n 5
if [ -s /tmp/summary ] && ! grep -v ' 0 FAILED' /tmp/summary; then ok bpf; else bad bpf; fi
