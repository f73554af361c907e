# SPDX-License-Identifier: MIT
"""
A Debian guest (tools/mkdebian) on husk, or with --vmm qemu on QEMU's TCG: to tell husk's bugs from the guest's. Either
all of it, with systemd and ssh, or "lite": the same disk with a script for init that takes commands from the console.
"""
import json
import os
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
import husk as base  # noqa: E402 pylint: disable=wrong-import-position
from husk import Failure, expect, expect_true  # noqa: E402,F401 pylint: disable=wrong-import-position

TOP = base.TOP
DEBIAN = os.path.join(os.environ.get("HUSK_CACHE", os.path.join(TOP, ".cache")), "debian")
TOOL = os.environ.get("HUSK_DEBIAN_TOOL", os.path.join(TOP, "build/rel/tests/peer/debian/debian-tool"))
QEMU = os.environ.get("QEMU", "qemu-system-x86_64")
VMM = "husk"
LONG = os.environ.get("HUSK_LONG", "") not in ("", "0")
SLOW = base.SLOW
PARTITION = 1 << 20  # where the file system begins
BAD_WORDS = (r"I/O error|Buffer I/O|EXT4-fs error|EXT4-fs warning|[Cc]all [Tt]race|hung_task|blocked for more|"
             r"virtio.*(broken|error)")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run(*argv, timeout=120, ok=(0,), **kw):
    """A program of the host to its end; its output."""
    p = subprocess.run([*map(str, argv)], capture_output=True, timeout=timeout * SLOW, check=False, **kw)
    text = (p.stdout + p.stderr).decode(errors="replace")
    if p.returncode not in ok:
        raise Failure(f"{' '.join(map(str, argv))}: exit code {p.returncode}: {text[-2000:]}")
    return text


def copy_of_disk(box, name="disk.raw"):
    path = os.path.join(box.dir, name)
    run("cp", "--reflink=auto", "--sparse=always", os.path.join(DEBIAN, "disk.raw"), path)
    return path


def scratch(box, mib, name="scratch.raw", ext4=False):
    path = os.path.join(box.dir, name)
    with open(path, "wb") as f:
        f.truncate(mib << 20)
    if ext4:
        run("/sbin/mke2fs", "-q", "-t", "ext4", path)
    return path


def fsck(path, offset=PARTITION, repair=False):
    """e2fsck of a file system in an image: as it is, or as a boot would repair it."""
    name = f"{path}?offset={offset}" if offset else path
    return run("/sbin/e2fsck", "-p" if repair else "-fn", name, ok=(0, 1) if repair else (0,))


def file_in(path, name, offset=PARTITION):
    """What a file of the file system in an image holds."""
    p = subprocess.run(["/sbin/debugfs", "-R", f"cat {name}", f"{path}?offset={offset}" if offset else path],
                       capture_output=True, check=True)
    return p.stdout


def initrd(box, lite):
    """The image's own; for a lite guest with our tool and init behind it."""
    if not lite:
        return f"{DEBIAN}/initrd.img"
    path = os.path.join(box.dir, "initrd.img")
    if os.path.exists(path):
        return path
    expect_true(f"no {TOOL}: build it, or set HUSK_DEBIAN_TOOL", os.path.exists(TOOL))
    extra = os.path.join(box.dir, "cpio")
    os.makedirs(f"{extra}/extra")
    for source, name in (TOOL, "tool"), (os.path.join(HERE, "lite"), "lite"):
        shutil.copy(source, f"{extra}/extra/{name}")
        os.chmod(f"{extra}/extra/{name}", 0o755)
    archive = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=extra, check=True,
                             input=b"extra\nextra/tool\nextra/lite\n", stdout=subprocess.PIPE).stdout
    with open(path, "wb") as out, open(os.path.join(DEBIAN, "initrd.img"), "rb") as first:
        out.write(first.read())
        out.write(bytes(-out.tell() % 4))
        out.write(archive)
    return path


class Disk:
    """One --disk: a path, and what is special about it."""

    def __init__(self, path, husk="", qemu="", blk_socket=None):
        self.path, self.husk, self.qemu, self.socket = path, husk, qemu, blk_socket


class QemuMachine(base.Machine):
    """As base.Machine, for another program."""

    def __init__(self, box, argv):  # pylint: disable=super-init-not-called
        self.output, self.tty, self.box, self.argv = b"", False, box, argv
        self.stderr = tempfile.TemporaryFile()
        self.start = time.monotonic()
        self.p = subprocess.Popen(argv, env=box.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.stderr)
        self.fd, self.stdin = self.p.stdout.fileno(), self.p.stdin.fileno()


class Guest:
    """A running machine. m: its process and console."""

    def __init__(self, box, disks, cpus=1, memory=512, net="", lite=True, append="", vmm=None, more=()):
        self.box, self.vmm, self.lite, self.number = box, vmm or VMM, lite, 0
        self.port = free_port()
        self.name = f"debian-{os.getpid()}-{random.randrange(1 << 30)}"
        disks = [d if isinstance(d, Disk) else Disk(d) for d in disks]
        if append is not None or self.vmm == "qemu":  # None: husk's own choice
            append = f"console=ttyS0 root=/dev/vda1 rw {append or ''}"
        if lite:
            append += " init=/run/extra/lite quiet loglevel=0"
        if self.vmm == "husk":
            argv = ["--name", self.name, "--kernel", f"{DEBIAN}/vmlinuz", "--initrd", initrd(box, lite),
                    "--memory", f"{memory}M", "--cpus", cpus]
            argv += [] if append is None else ["--append", append]
            for d in disks:
                argv += ["--disk", f"{'socket:' + d.socket if d.socket else d.path}{d.husk}"]
            if net is not None:
                argv += ["--net", f"user,host-loopback=on,forward=tcp:127.0.0.1:{self.port}-:22{net}"]
            self.m = base.Machine(box, *argv, *more)
        else:
            self.m = QemuMachine(box, self.qemu(box, disks, cpus, memory, net, append))

    def qemu(self, box, disks, cpus, memory, net, append):
        argv = [QEMU, "-accel", "tcg", "-cpu", "max", "-M", "q35,memory-backend=ram", "-m", str(memory), "-smp", str(cpus),
                "-object", f"memory-backend-memfd,id=ram,size={memory}M,share=on",
                "-nodefaults", "-display", "none", "-serial", "stdio", "-kernel", f"{DEBIAN}/vmlinuz",
                "-initrd", initrd(box, self.lite), "-append", append]
        for i, d in enumerate(disks):
            if d.socket:
                argv += ["-chardev", f"socket,id=c{i},path={d.socket}",
                         "-device", f"vhost-user-blk-pci,chardev=c{i},num-queues=1"]
            else:
                argv += ["-drive", f"file={d.path},format=raw,if=none,id=d{i},cache=writeback,discard=unmap{d.qemu}",
                         "-device", f"virtio-blk-pci,drive=d{i}"]
        if net is not None:
            argv += ["-netdev", f"user,id=n,hostfwd=tcp:127.0.0.1:{self.port}-:22", "-device", "virtio-net-pci,netdev=n"]
        return argv

    def __enter__(self):
        if self.lite:
            try:
                self.m.wait_for("@lite", 120)
            except BaseException as e:
                self.m.__exit__(type(e), e, None)
                raise
        return self

    def __exit__(self, *what):
        self.m.__exit__(*what)

    # --- the console of a lite guest ---

    def start(self, command):
        """Begins a command in a lite guest; finish() waits for it."""
        expect_true("a command of one line", "\n" not in command and len(command) < 4000)
        self.number += 1
        self.m.send(f"{self.number} {command}\n")
        return self.number, len(self.m.text())

    def finish(self, token, timeout=120):
        """(exit code, output) of a command that was begun."""
        number, begin = token
        m = self.m.wait_for(rf"@done {number} (\d+)\n", timeout, begin)
        return int(m[1]), m.string[begin:m.start()]

    def sh(self, command, timeout=120, ok=(0,)):
        """One command on the console of a lite guest; its output."""
        rc, text = self.finish(self.start(command), timeout)
        if ok and rc not in ok:
            raise Failure(f"guest: {command}: exit code {rc}: {text[-2000:]}")
        return text

    def poweroff(self):
        """The end of a lite guest."""
        self.start("cd /; sync; mount -o remount,ro / && poweroff -ff")
        expect("exit code", self.m.wait(60), 0)

    # --- systemd ---

    def ssh(self, command, timeout=60, ok=(0,)):
        return run("ssh", "-i", f"{DEBIAN}/id", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                   "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=20", "-o", "IdentitiesOnly=yes", "-p", self.port,
                   "root@127.0.0.1", command, timeout=timeout, ok=ok, stdin=subprocess.DEVNULL)

    def wait_ssh(self, timeout=120):
        deadline = time.monotonic() + timeout * SLOW
        while True:
            try:
                return self.ssh("true", timeout=30)
            except Failure:
                if time.monotonic() > deadline or self.m.p.poll() is not None:
                    raise
                self.m.pump(0.5)

    # --- both ---

    def clean_dmesg(self, more=""):
        """No complaint of the guest's kernel about disks, and none that means a bug."""
        text = self.sh("dmesg") if self.lite else self.ssh("dmesg")
        bad = [x for x in text.splitlines() if re.search(BAD_WORDS + more, x)]
        expect("complaints in the guest's dmesg", bad[:10], [])

    def pump(self, seconds):
        """Waits, but does not let the guest's console fill up."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and self.m.p.poll() is None:
            if not self.m.pump(left):
                select.select([], [], [], left)

    def devices(self, begin):
        """What husk status tells of the devices whose names begin so."""
        if self.m.p.poll() is not None:
            raise Failure(f"husk ended with {self.m.p.returncode}")
        return [d for d in json.loads(self.status("--json"))["devices"] if d["name"].startswith(begin)]

    def status(self, *more):
        rc, out, err = self.box.husk("status", *more, self.name)
        if rc:
            raise Failure(f"husk status: exit code {rc}: {err}")
        return out


def kill(pid, sig=signal.SIGKILL):
    try:
        os.kill(pid, sig)
        return True
    except ProcessLookupError:
        return False


def main(cases):
    """[--vmm husk|qemu] NAME...: as husk.main()."""
    global VMM  # pylint: disable=global-statement
    if sys.argv[1:2] == ["--vmm"]:
        VMM = sys.argv[2]
        del sys.argv[1:3]
    if not os.path.exists(f"{DEBIAN}/disk.raw"):
        print(f"no {DEBIAN}: run tools/mkdebian")
        sys.exit(77)
    base.main(cases)
