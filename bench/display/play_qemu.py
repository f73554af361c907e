#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
QEMU's VNC server as the server under test: play_qemu.py SESSION DISPLAY [VNC-OPTIONS]. The session is written into the video
memory of bochs-display over qtest, in the same steps as to the others.
"""
import base64
import mmap
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time

FB, REGS = 0xE0000000, 0xF0000000


class Session:
    def __init__(self, path):
        with open(path, "rb") as f:
            self.data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        self.at = 0
        self.w, self.h = struct.unpack_from(">2H", self.data, 8)

    def next(self):
        if self.at + 4 > len(self.data):
            return []
        n = struct.unpack_from(">H", self.data, self.at + 2)[0]
        self.at += 4
        rects = []
        for _ in range(n):
            x, y, w, h = struct.unpack_from(">4H", self.data, self.at)
            rects.append((x, y, w, h, self.at + 12))
            self.at += 12 + w * h * 4
        return rects


class Qemu:
    def __init__(self, display, options):
        path = os.path.join(tempfile.mkdtemp(), "qtest")
        self.process = subprocess.Popen(
            ["qemu-system-x86_64", "-accel", "tcg", "-S", "-machine", "pc", "-m", "16", "-vga", "none", "-device",
             "bochs-display,vgamem=32M,addr=4", "-qtest", f"unix:{path},server=on,wait=off", "-qtest-log", "/dev/null",
             "-vnc", f"127.0.0.1:{display}{options}", "-net", "none", "-serial", "null", "-monitor", "none",
             "-nodefaults"], stdin=subprocess.DEVNULL)
        for _ in range(200):
            try:
                self.sock = socket.socket(socket.AF_UNIX)
                self.sock.connect(path)
                break
            except OSError:
                time.sleep(0.05)
        self.answers = self.sock.makefile("rb")

    def command(self, text):
        self.sock.sendall(text.encode() + b"\n")
        self.answer()

    def answer(self):
        while not self.answers.readline().startswith(b"OK"):
            pass

    def pci(self, register, value):
        self.command(f"outl 0xcf8 {0x80000000 | 4 << 11 | register:#x}")
        self.command(f"outl 0xcfc {value:#x}")

    def mode(self, w, h):
        self.pci(0x10, FB)
        self.pci(0x18, REGS)
        self.pci(4, 7)
        for index, value in ((4, 0), (1, w), (2, h), (3, 32), (6, w), (4, 0x41)):
            self.command(f"writew {REGS + 0x500 + 2 * index:#x} {value:#x}")

    def draw(self, session):
        for x, y, w, h, off in session.next():
            # lines of qtest cost the square of their length, so small ones, eight at a time
            for first in range(0, h, 8):
                rows = range(first, min(h, first + 8))
                self.sock.sendall(b"".join(
                    b"b64write 0x%x 0x%x " % (FB + ((y + j) * session.w + x) * 4, w * 4)
                    + base64.b64encode(session.data[off + j * w * 4:off + (j + 1) * w * 4]) + b"\n" for j in rows))
                for _ in rows:
                    self.answer()


def main():
    session = Session(sys.argv[1])
    qemu = Qemu(sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "")
    try:
        qemu.mode(session.w, session.h)
        qemu.draw(session)
        print(f"ready {qemu.process.pid}", flush=True)
        for line in sys.stdin:
            if line.startswith("q"):
                break
            qemu.draw(session)
            print("ok", flush=True)
    finally:
        qemu.process.kill()


main()
