# SPDX-License-Identifier: MIT
# shellcheck shell=dash disable=SC2015,SC2154,SC2086,SC2046,SC2034 # ok and bad do not fail; init sets suite_seconds
# In the guest: everything at once that rewrites the kernel's code or makes new processes, and sums meanwhile.
cd /tmp || exit
end=$(($(date +%s) + suite_seconds))
going() { [ "$(date +%s)" -lt $end ]; }
t=/sys/kernel/tracing
dmesg -n 4

# The function tracer patches every function's entry, events and statistics switch static keys and calls.
tracer()
{
	n=0
	while going; do
		echo function >$t/current_tracer || return
		sleep 0.3
		echo nop >$t/current_tracer
		echo 'vfs_*' >$t/set_ftrace_filter
		echo function_graph >$t/current_tracer && sleep 0.1
		echo nop >$t/current_tracer
		echo >$t/set_ftrace_filter
		for e in sched irq syscalls kmem; do echo 1 >$t/events/$e/enable; done
		echo 1 >/proc/sys/kernel/sched_schedstats
		echo 'p:soak vfs_read' >$t/kprobe_events && echo 1 >$t/events/kprobes/soak/enable
		sleep 0.1
		echo 0 >$t/events/kprobes/soak/enable
		echo >$t/kprobe_events
		echo 0 >/proc/sys/kernel/sched_schedstats
		echo 0 >$t/events/enable
		n=$((n + 1))
		echo $n >ftrace.n
	done
}
modules()
{
	n=0
	while going; do
		while read -r m; do insmod "/lib/modules/$m.ko" 2>/dev/null; done </lib/modules/order
		[ -e /sys/module/dummy ] || return
		sed '1!G;h;$!d' /lib/modules/order | while read -r m; do rmmod $m 2>/dev/null; done
		[ ! -e /sys/module/dummy ] || return
		n=$((n + 1))
		echo $n >modules.n
	done
}
forks()
{
	n=0
	while going; do
		for i in 1 2 3 4 5 6 7 8; do /bin/busybox true & done
		wait
		n=$((n + $(echo a b c | wc -w) + 5))
		echo $n >forks.n
	done
}
# Known data, summed again and again: whatever goes wrong beside it must not show here.
sums()
{
	n=0
	while going; do
		[ "$(yes husk | head -c 300000 | sha256sum)" = "$want  -" ] || { echo wrong >sums.bad; return; }
		[ "$(yes husk | head -c 300000 | gzip -c | gunzip -c | sha256sum)" = "$want  -" ] || { echo wrong >sums.bad; return; }
		n=$((n + 1))
		echo $n >sums.n
	done
}
want=9f598545e595cc1a211c3f564448c30704777c0de5dc6e9f30360df9dcc48916 # yes husk | head -c 300000
tracer &
modules &
forks &
sums &
wait
for what in ftrace modules forks sums; do
	[ -s $what.n ] && [ "$(cat $what.n)" -ge 1 ] && ok $what $(cat $what.n) rounds || bad $what "$(cat $what.n 2>&1) rounds"
done
[ ! -e sums.bad ] && ok soak $suite_seconds s || bad sums are wrong
dmesg | grep -E 'BUG|WARNING: CPU|Oops|rcu.*stall|soft lockup|ftrace.*(bug|fail)' | head -n 5 >warnings
[ -s warnings ] && bad "$(cat warnings)"
