# SPDX-License-Identifier: MIT
# shellcheck shell=dash disable=SC2015,SC2154,SC2094 # ok and bad do not fail; init sets suite_long
# In the guest: all crypto modules of the kernel. Registering an algorithm runs its self-test; a module
# whose test fails cannot be loaded or shows up in /proc/crypto as other than "passed".
echo > /proc/sys/kernel/modprobe # everything is loaded here, so the kernel needs no helper
dmesg -n 4 # what the kernel warns of is looked at below
n=0
while read -r m; do
	[ "$m" != tcrypt ] || continue
	if insmod "/lib/modules/$m.ko" 2>/tmp/why; then
		n=$((n + 1))
	else
		echo "$m: $(cat /tmp/why)" | tee -a /tmp/refused
	fi
done </lib/modules/order
[ $n -gt 60 ] && ok modules $n loaded || bad only $n modules loaded

# What this CPU announces, the kernel must have taken into use: flag, module.
lost=
while read -r flag m; do
	if grep -qw "$flag" /proc/cpuinfo; then
		grep -qE "^module +: $m\$" /proc/crypto || lost="$lost $m($flag)"
	fi
done <<END
aes aesni_intel
ssse3 sha1_ssse3
ssse3 sha256_ssse3
ssse3 sha512_ssse3
ssse3 chacha_x86_64
avx camellia_aesni_avx_x86_64
avx2 camellia_aesni_avx2
avx cast5_avx_x86_64
avx cast6_avx_x86_64
avx serpent_avx_x86_64
avx2 serpent_avx2
sse2 serpent_sse2_x86_64
avx twofish_avx_x86_64
sse2 twofish_x86_64_3way
sse2 twofish_x86_64
sse2 blowfish_x86_64
sse2 camellia_x86_64
sse2 des3_ede_x86_64
pclmulqdq ghash_clmulni_intel
pclmulqdq crct10dif_pclmul
pclmulqdq crc32_pclmul
sse4_2 crc32c_intel
sse2 nhpoly1305_sse2
avx2 nhpoly1305_avx2
sse2 poly1305_x86_64
aes aegis128_aesni
adx curve25519_x86_64
END
[ -z "$lost" ] && ok x86 || bad "no algorithm of$lost"

# tcrypt mode 0 asks for every algorithm by name, the templates (gcm, xts, cts, ...) among them, which
# come into being and are tested by that. It never stays loaded.
insmod /lib/modules/tcrypt.ko mode=0 2>/dev/null
dmesg | grep -E 'alg: |tcrypt: ' >/tmp/log
# ENOENT: the kernel has no such algorithm. drbg_nopr_hmac_sha512 fails in Debian's 6.1.0-56 on every CPU
# that was tried, silicon among them. Whatever else failed, failed.
grep failed /tmp/log | grep -vE 'rc=-2\)|: -2$|one or more tests failed|drbg_nopr_hmac_sha512' >/tmp/failed
[ -s /tmp/failed ] && bad "$(head -n 3 /tmp/failed | tr '\n' ';')" || ok tcrypt
passed=$(grep -cE '^selftest +: passed$' /proc/crypto)
awk '/^driver/ { d = $3 } /^selftest/ && $3 != "passed" && d != "drbg_nopr_hmac_sha512" { print d }' /proc/crypto >/tmp/other
[ -s /tmp/other ] && bad "did not pass: $(cat /tmp/other)"
[ "$passed" -gt 200 ] && ok passed "$passed algorithms" || bad "only $passed algorithms"
dmesg | grep -E 'WARNING: CPU|BUG:|Oops' | grep -v ' at crypto/testmgr.c:' >/tmp/warnings # that is drbg's
[ -s /tmp/warnings ] && bad "$(head -n 3 /tmp/warnings)"
