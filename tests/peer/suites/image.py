# SPDX-License-Identifier: MIT
"""
An initramfs made of programs of this machine, with the shared libraries they ask for, Debian's static
busybox, modules of the guest's kernel, and a shell script that the guest runs before it powers off.
The archive is written here, entry by entry (cpio "newc", Linux' Documentation/driver-api/early-userspace/
buffer-format.rst), so it takes neither root nor a temporary tree. It is not compressed: unpacking would
be the guest's work.
"""
import os
import re
import stat
import subprocess

BUSYBOX = "/bin/busybox"
INIT = """#!/bin/sh
export PATH=/bin:/usr/bin HOME=/tmp TERM=dumb LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
mount -t tracefs trace /sys/kernel/tracing 2>/dev/null
ip link set lo up
ok() { echo "SUITE-OK $*"; }
bad() { echo "SUITE-FAIL $*"; }
. /job </dev/null
echo "SUITE-EXIT"
poweroff -f
"""


class Missing(Exception):
    """Something of the host that the image needs is not there."""


class Image:
    """Collects what goes into the archive; write() makes it."""

    def __init__(self, kernel, job):
        self.modules = os.path.join(kernel, "modules")
        self.entries = {}  # path in the guest without the first slash: (mode, bytes)
        self.loaded = []  # modules in an order in which they can be loaded
        for d in "bin", "dev", "lib/modules", "proc", "root", "sys", "tmp", "usr/bin", "etc":
            self.folder(d)
        self.text("init", INIT, 0o755)
        self.text("job", job)
        self.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        self.text("etc/group", "root:x:0:\n")
        self.file(BUSYBOX, "bin/busybox")
        for name in subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split():
            if name != "busybox":
                self.entries["bin/" + name] = (stat.S_IFLNK | 0o777, b"busybox")

    def folder(self, path):
        while path and path not in self.entries:
            self.entries[path] = (stat.S_IFDIR | 0o755, b"")
            path = os.path.dirname(path)

    def text(self, path, text, mode=0o644):
        self.folder(os.path.dirname(path))
        self.entries[path] = (stat.S_IFREG | mode, text.encode())

    def file(self, host, path=None):
        """One file, with the content a symbolic link leads to."""
        path = (path or host).lstrip("/")
        if not os.path.exists(host):
            raise Missing(f"no {host}")
        with open(host, "rb") as f:
            data = f.read()
        self.folder(os.path.dirname(path))
        self.entries[path] = (stat.S_IFREG | (0o755 if os.access(host, os.X_OK) else 0o644), data)

    def program(self, name, path=None):
        """A program by its name or path, and what its dynamic linker would load, where it would look for it."""
        host = name if "/" in name else find_program(name)
        self.file(host, path or "usr/bin/" + os.path.basename(host))
        ldd = subprocess.run(["ldd", host], capture_output=True, text=True, env={"LC_ALL": "C"}, check=False)
        for lib in re.findall(r"(/[^ )]*) \(0x", ldd.stdout):
            self.file(lib)

    def tree(self, folder):
        for top, _, files in os.walk(folder):
            for f in files:
                self.file(os.path.join(top, f))

    def module(self, name):
        """A module of the guest's kernel behind those it depends on. One that is built in, or unknown, is left out."""
        name = name.replace("-", "_")
        if name in self.loaded:
            return
        for top, _, files in os.walk(os.path.join(self.modules, "kernel")):
            for f in files:
                if f.endswith(".ko") and f[:-3].replace("-", "_") == name:
                    with open(os.path.join(top, f), "rb") as ko:
                        data = ko.read()
                    for depends in re.findall(rb"\0depends=([^\0]*)\0", data):
                        for d in filter(None, depends.decode().split(",")):
                            self.module(d)
                    self.entries[f"lib/modules/{name}.ko"] = (stat.S_IFREG | 0o644, data)
                    self.loaded.append(name)

    def write(self, out):
        self.text("lib/modules/order", "".join(m + "\n" for m in self.loaded))
        with open(out, "wb") as f:
            for ino, (path, (mode, data)) in enumerate(sorted(self.entries.items()), 1):
                self.entry(f, ino, path, mode, data)
            self.entry(f, 0, "TRAILER!!!", 0, b"")

    @staticmethod
    def entry(f, ino, path, mode, data):
        name = path.encode() + b"\0"
        fields = ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0
        head = b"070701" + b"".join(b"%08x" % x for x in fields) + name
        f.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))


def find_program(name):
    for d in os.environ.get("PATH", "").split(":") + ["/usr/bin", "/usr/sbin"]:
        path = os.path.join(d, name)
        if os.access(path, os.X_OK) and not os.path.isdir(path) and "/shims/" not in path:
            return path
    raise Missing(f"no program {name}: run tools/deps")
