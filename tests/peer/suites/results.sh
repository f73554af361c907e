# SPDX-License-Identifier: MIT
# shellcheck shell=dash disable=SC2015,SC2154,SC2094 # ok and bad do not fail; init sets suite_long
# Runs on the host and in the guest with the same programs (run copies them): generated data through
# checksums, ciphers and compressors, and floating point by awk, bc and perl. One line per result: its
# name and the checksum of what came out. The sums are busybox', which is itself
# compared with others.
cd "${TMPDIR:-/tmp}" || exit
kib=256
[ "${suite_long-0}" != 1 ] || kib=16384

sum() { echo "$1 $(busybox sha256sum | cut -c 1-32)"; }

# Data that compresses somewhat: digits of a linear congruential generator, text, runs and all bytes.
busybox awk -v n=$((kib * 12)) 'BEGIN {
	x = 1
	for (i = 0; i < n; i++) {
		x = (x * 16807) % 2147483647
		if (x % 7 == 0) printf "%d times the same line of text, more or less\n", x % 100
		else if (x % 11 == 0) printf "%60d", x % 10
		else printf "%d %x %s\n", x, x % 65536, substr("abcdefghijklmnopqrstuvwxyz", x % 26 + 1)
	}
}' >text
openssl enc -aes-128-ctr -K 00112233445566778899aabbccddeeff -iv 0 -in text 2>/dev/null | head -c $((kib * 512)) >noise
cat text noise >data
sum data <data

# Checksums by four implementations that share no code.
for d in md5 sha1 sha224 sha256 sha384 sha512 sha512-256 sha3-256 sha3-512 blake2b512 blake2s256 ripemd160 sm3 shake128; do
	openssl dgst -$d <data | sum openssl-$d
done
for d in md5 sha256 sha512; do
	/usr/bin/${d}sum <data | sum coreutils-$d
done
for d in md5sum sha1sum sha256sum sha512sum sha3sum crc32; do
	busybox $d <data | sum busybox-$d
done
b2sum <data | sum coreutils-b2
cksum -a crc <data | sum coreutils-crc
openssl dgst -mac hmac -macopt key:husk -sha256 <data | sum hmac
openssl dgst -mac poly1305 -macopt hexkey:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f <data | sum poly1305

# Ciphers, there and back.
key=000102030405060708090a0b0c0d0e0f
for c in aes-128-cbc aes-192-cbc aes-256-cbc aes-256-ctr aes-128-ecb aes-256-cfb aes-256-ofb camellia-256-cbc aria-128-ctr \
	sm4-cbc des-ede3-cbc chacha20; do
	openssl enc -$c -K $key$key -iv $key -in data -out enc 2>/dev/null
	sum $c <enc
	openssl enc -d -$c -K $key$key -iv $key -in enc 2>/dev/null | cmp - data || echo "$c-back differs"
done
for i in 1 2 3; do # big numbers: RSA and elliptic curves with fixed input
	openssl prime -hex $i$((i * 7919))FFFFFFFFFFFFFFFFFFFFFFC$i
done | sum primes
cat >key.pem <<END
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
END
head -c 4096 data >part
openssl pkeyutl -sign -inkey key.pem -rawin -in part 2>&1 | sum ed25519

# Compressors, there and back.
for c in 'gzip -n -1' 'gzip -n -6' 'gzip -n -9' 'bzip2 -9' 'xz -T1 -1' 'xz -T1 -6 --check=sha256' 'xz -T1 --x86 --lzma2' \
	'xz --format=lzma -3' 'zstd -q -1 --single-thread' 'zstd -q -9 --single-thread' 'zstd -q -17 --single-thread'; do
	name=$(echo "$c" | tr -d ' =')
	$c <data >packed
	sum "$name" <packed
	${c%% *} -d <packed | cmp - data || echo "$name-back differs"
done
busybox gzip <data | busybox gunzip | cmp - data || echo "busybox-gzip differs"

# Floating point: SSE by awk and perl, through libm's variants for this CPU and for one without FMA.
cat >fp.awk <<'END'
BEGIN { # mawk: sin and others come from libm
	x = 0.5
	for (i = 1; i <= n; i++) {
		x = 3.9 * x * (1 - x)
		s += sin(i * x) * cos(i / x) + exp(-x) + log(i) * sqrt(i) + atan2(x, i) + i ^ (1 / 3)
		if (i % 100 == 0) printf "%.17g %.17g %.17e\n", x, s, s * 1e-300
	}
	printf "%.17g %.17g %d %s\n", 1e308 * 10, -log(0), 2 ^ 53 + 1, 0.1 + 0.2
}
END
fp=$((kib * 40))
mawk -v n=$fp -f fp.awk | sum awk
GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX mawk -v n=$fp -f fp.awk | sum awk-nofma
cat >fp.pl <<'END'
my ($x, $s) = (0.5, 0);
for my $i (1 .. $ARGV[0]) {
	$x = 3.99 * $x * (1 - $x);
	$s += sin($i * $x) * cos($i / $x) + exp(-$x) + log($i) * sqrt($i) + atan2($x, $i) + $i ** (1 / 3) + ($i % 97) / 7;
	printf "%.17g %.17g %s\n", $x, $s, unpack("H*", pack("d<", $s)) if $i % 100 == 0;
}
printf "%s\n", join ",", sort { $a <=> $b } map { ($_ * 2654435761) % 4294967296 / 65536 } 1 .. 1000;
my %h; $h{$_ % 1013} .= chr(65 + $_ % 26) for 1 .. $ARGV[0];
print "$_ $h{$_}\n" for sort keys %h;
my $t = join "", map { chr(97 + ($_ * $_) % 26) } 1 .. 20000;
print scalar(() = $t =~ /([aeiou])[^aeiou]+\1/g), "\n";
END
PERL_HASH_SEED=0 perl fp.pl $fp | sum perl
GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX PERL_HASH_SEED=0 perl fp.pl $fp | sum perl-nofma
# 80-bit floating point: printf of a long double, which coreutils' seq and bash's arithmetic do not do
seq 0.1 0.37 $((kib * 4)) | sum seq-x87
printf '%s\n' 'scale=200; 4*a(1); e(1); sqrt(2); l(10); s(1/3)' 'define f(n) { if (n < 2) return 1; return n * f(n - 1) }' \
	'f(300)' "2^$((kib * 8)) % 10^300" | BC_LINE_LENGTH=0 bc -l | sum bc
seq 100000000000 100000000030 | factor | sum factor
sort -k 2 text | sum sort
sort -n text | uniq -c | sum sort-uniq
grep -c '[a-f]\{3\}.*9$' text | sum grep
busybox sed 's/\([a-z]*\) \([0-9]*\)/\2-\1/g' text | sum sed
