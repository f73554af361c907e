# SPDX-License-Identifier: MIT
"""
What the tests of the whole program share: husk started with its output in pipes or on a pty, in a
runtime directory of its own; waiting for words on the console; small kernels made of bytes; and the
check that nothing is left behind.
"""
import ctypes
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

TOP = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
HUSK = os.environ.get("HUSK", os.path.join(TOP, "build/rel/src/cmd/husk"))
ENGINE = os.environ.get("HUSK_ENGINE", "bt")
SLOW = float(os.environ.get("HUSK_SLOW", "1"))  # factor on every timeout
CLOUD, GENERIC = os.path.join(TOP, "build/guest"), os.path.join(TOP, "build/guest-generic")
EXIT_POWEROFF, EXIT_ERROR, EXIT_USAGE, EXIT_PANIC, EXIT_TRIPLE, EXIT_ENGINE, EXIT_STOPPED = range(7)
PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
MENU_KEY = b"\x1d"


class Failure(Exception):
    """A test that did not get what it expected."""


def expect(what, got, want):
    if got != want:
        raise Failure(f"{what}: {got!r}, expected {want!r}")


def expect_true(what, condition):
    if not condition:
        raise Failure(what)


class Sandbox:
    """A temporary runtime directory; on leaving it, nothing of husk may remain in it or running."""

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="husk-test-")
        self.run = os.path.join(self.dir, "run")
        os.mkdir(self.run, 0o700)
        self.tmp = os.path.join(self.dir, "tmp")
        os.mkdir(self.tmp)
        self.env = {**os.environ, "XDG_RUNTIME_DIR": self.run, "TMPDIR": self.tmp, "TERM": "vt100", "LC_ALL": "C"}
        return self

    def __exit__(self, kind, *_):
        left = self.left_behind() if kind is None else []
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.dir, ignore_errors=True)
        if left:
            raise Failure(f"left behind: {left}")

    @staticmethod
    def processes():
        """All descendants but zombies. We are the subreaper, so orphans are ours, too."""
        parent = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
                    state, ppid = f.read().rsplit(")", 1)[1].split()[:2]
                if state != "Z":
                    parent[int(pid)] = int(ppid)
            except OSError:
                pass
        found = {os.getpid()}
        while True:
            more = {p for p, pp in parent.items() if pp in found} - found
            if not more:
                return sorted(found - {os.getpid()})
            found |= more

    def left_behind(self):
        """Processes may take a moment to go; files may not."""
        deadline = time.monotonic() + 3 * SLOW
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.05)
        left = [f"process {p}" for p in self.processes()]
        for top in self.run, self.tmp:
            for folder, dirs, files in os.walk(top):
                left += [os.path.join(folder, x) for x in files]
                left += [os.path.join(folder, d) for d in dirs if os.path.join(folder, d) != self.run + "/husk"]
        return left

    def husk(self, *args, timeout=30, stdin=subprocess.DEVNULL):
        """Runs a husk command to its end: exit code, stdout, stderr."""
        p = subprocess.run([HUSK, *map(str, args)], env=self.env, stdin=stdin, capture_output=True,
                           timeout=timeout * SLOW, check=False)
        return p.returncode, p.stdout.decode(errors="replace"), p.stderr.decode(errors="replace")

    def file(self, name, data):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            f.write(data)
        return path


class Machine:
    """husk run in the background. tty=True: on a pty, as a user has it; otherwise in pipes."""

    def __init__(self, box, *args, tty=False, engine=ENGINE):
        self.output, self.tty, self.box = b"", tty, box
        self.argv = [HUSK, "run", "--engine", engine, *map(str, args)]
        self.stderr = tempfile.TemporaryFile()
        self.start = time.monotonic()
        if tty:
            self.fd, slave = pty.openpty()
            self.slave = slave  # kept open, to look at its settings
            self.settings = termios.tcgetattr(slave)

            def own_terminal():
                os.setsid()
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            # pylint: disable=subprocess-popen-preexec-fn
            self.p = subprocess.Popen(self.argv, env=box.env, stdin=slave, stdout=slave, stderr=slave,
                                      preexec_fn=own_terminal)
            self.stdin = self.fd
        else:
            self.p = subprocess.Popen(self.argv, env=box.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=self.stderr)
            self.fd, self.stdin = self.p.stdout.fileno(), self.p.stdin.fileno()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.p.poll() is None:
            self.p.terminate()
            try:
                self.p.wait(10)
            except subprocess.TimeoutExpired:
                self.p.kill()
        if kind is not None:
            print(f"--- {' '.join(self.argv)}\n{self.text()[-6000:]}\n--- stderr\n{self.errors()}")

    def text(self):
        return self.output.decode(errors="replace").replace("\r", "")

    def errors(self):
        self.stderr.seek(0)
        return self.stderr.read().decode(errors="replace")

    def pump(self, seconds):
        """Reads for at most that long; False at end of file."""
        ready, _, _ = select.select([self.fd], [], [], max(seconds, 0))
        if not ready:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # a pty whose other side is gone
            data = b""
        self.output += data
        return bool(data)

    def wait_for(self, pattern, timeout=120, after=0):
        """Waits for a regular expression in the output behind position after; returns the match."""
        deadline = time.monotonic() + timeout * SLOW
        while True:
            m = re.compile(pattern).search(self.text(), after)
            if m:
                return m
            if time.monotonic() > deadline:
                raise Failure(f"no {pattern!r} within {timeout * SLOW:.0f} s")
            if not self.pump(0.2) and self.p.poll() is not None:
                m = re.compile(pattern).search(self.text(), after)
                if m:
                    return m
                raise Failure(f"husk ended with {self.p.returncode} before {pattern!r}")

    def send(self, data):
        os.write(self.stdin, data if isinstance(data, bytes) else data.encode())

    def wait(self, timeout=60):
        """Waits for husk to end; its exit code."""
        deadline = time.monotonic() + timeout * SLOW
        while self.p.poll() is None:
            if time.monotonic() > deadline:
                raise Failure(f"husk still runs after {timeout * SLOW:.0f} s")
            self.pump(0.05)
        if not self.tty:
            while self.pump(1):
                pass
        else:
            self.pump(0.2)
        return self.p.returncode


def multiboot(code):
    """The smallest kernel: Multiboot 1, flat at 1 MiB, entered in 32-bit protected mode."""
    load = 0x100000
    magic, flags = 0x1BADB002, 0x10000
    head = struct.pack("<IIIIIIII", magic, flags, -(magic + flags) & 0xFFFFFFFF, load, load, 0, 0, load + 32)
    return head + code


HANG = b"\xfa\xf4\xeb\xfd"  # cli; 1: hlt; jmp 1b
SPIN = b"\xeb\xfe"  # 1: jmp 1b
TRIPLE = b"\x0f\x01\x1d" + struct.pack("<I", 0x100000 + 32 + 9) + b"\x0f\x0b" + bytes(6)  # lidt of limit 0; ud2
RESET = b"\xba\x02\x06\x00\x00\xb0\x01\xee\xf4\xeb\xfd"  # the ACPI reset register: mov $1, %al; out to 0x602
POWEROFF = b"\xba\x00\x06\x00\x00\xb0\x34\xee\xf4\xeb\xfd"  # sleep control: S5, enable


def debug_exit(value):
    return b"\xb0" + bytes([value]) + b"\xe6\xf4" + HANG


def say(text):
    """Code that writes text to the first serial port."""
    return b"\xba\xf8\x03\x00\x00" + b"".join(b"\xb0" + bytes([c]) + b"\xee" for c in text.encode())


def main(tests):
    """NAME...: runs these tests, without a name all of them; exit 1 if one failed, 77 if all were skipped."""
    names = sys.argv[1:] or list(tests)
    bad = skipped = 0
    for name in names:
        start = time.monotonic()
        try:
            why = tests[name]()
            skipped += why is not None
            word = "ok" if why is None else f"skipped: {why}"
        except (Failure, subprocess.TimeoutExpired) as e:
            bad += 1
            word = f"FAILED: {e}"
        print(f"{name}: {word} ({time.monotonic() - start:.1f} s)", flush=True)
    sys.exit(1 if bad else 77 if skipped == len(names) else 0)
