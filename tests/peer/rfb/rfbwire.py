# SPDX-License-Identifier: MIT
"""
What tests with raw sockets share: husk-vnc beside a player (bench/display/play_husk.c) with listening sockets of ours; a
connection that says what it likes; a good viewer that checks each picture.
"""
import os
import select
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time

import sessions

sys.path.insert(0, f"{sessions.TOP}/tests/peer")
from husk import SLOW, Failure, expect, expect_true  # noqa: E402 pylint: disable=wrong-import-position

HUSK_VNC = os.environ.get("HUSK_VNC", f"{sessions.TOP}/build/rel/src/cmd/husk-vnc")
SANITIZED = bool(os.environ.get("HUSK_SANITIZED"))
COPYRECT, RRE, HEXTILE, ZLIB, TIGHT, ZRLE, TIGHT_PNG, NAME, CURSOR, ALPHA_CURSOR = 1, 2, 5, 6, 7, 16, -260, -307, -239, -314
FENCE, CONTINUOUS, LAYOUT, KEYS, CLIPBOARD = -312, -313, -308, -258, -0x3f5e1a32
MSG_FORMAT, MSG_ENCODINGS, MSG_REQUEST, MSG_KEY, MSG_POINTER, MSG_CUT, MSG_CONTINUOUS, MSG_FENCE = 0, 2, 3, 4, 5, 6, 150, 248
PATIENCE = 10 * SLOW
MEMORY = 200 # MiB
W, H = 320, 200


def encodings(*ids):
    return struct.pack(f">BxH{len(ids)}i", MSG_ENCODINGS, len(ids), *ids)


def request(x, y, w, h, incremental=0):
    return struct.pack(">BBHHHH", MSG_REQUEST, incremental, x, y, w, h)


def continuous(on, x, y, w, h):
    return struct.pack(">BBHHHH", MSG_CONTINUOUS, on, x, y, w, h)


def fence(flags, payload, n=None):
    return struct.pack(">BxxxIB", MSG_FENCE, flags, len(payload) if n is None else n) + payload


def pixel_format(bpp=32, depth=24, big=0, true=1, maxima=(255, 255, 255), shifts=(16, 8, 0)):
    return struct.pack(">BxxxBBBBHHHBBBxxx", MSG_FORMAT, bpp, depth, big, true, *maxima, *shifts)


def key(down, keysym):
    return struct.pack(">BBxxI", MSG_KEY, down, keysym)


def pointer(buttons, x, y):
    return struct.pack(">BBHH", MSG_POINTER, buttons, x, y)


def cut(length, body=b""):
    return struct.pack(">BxxxI", MSG_CUT, length & 0xffffffff) + body


class Wire:
    """A connection. where: a path, or (source address, port)."""

    def __init__(self, where):
        self.pending = b"" # the rest of a message that was begun
        if isinstance(where, str):
            self.s = socket.socket(socket.AF_UNIX)
            self.s.settimeout(PATIENCE)
            end = time.monotonic() + PATIENCE
            while True: # its queue of connections is full for moments
                try:
                    self.s.connect(where)
                    break
                except BlockingIOError:
                    expect_true("connections are taken", time.monotonic() < end)
                    time.sleep(0.005)
        else:
            self.s = socket.create_connection(("127.0.0.1", where[1]), PATIENCE, source_address=(where[0], 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.s.close()

    def send(self, data):
        """All of it; a peer that has closed shows when we read."""
        try:
            self.s.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def flood(self, data, times, seconds=1.0):
        """data so many times, as long as the server takes it; it may stop listening. How many bytes were taken."""
        view, sent, end = memoryview(data * times), 0, time.monotonic() + seconds
        self.s.setblocking(False)
        while sent < len(view) and time.monotonic() < end:
            try:
                sent += self.s.send(view[sent:sent + 65536])
            except BlockingIOError:
                time.sleep(0.01)
            except (BrokenPipeError, ConnectionResetError):
                break
        self.s.settimeout(PATIENCE)
        self.pending = data[sent % len(data):] if sent % len(data) else b""
        return sent

    def get(self, n):
        data = b""
        while len(data) < n:
            try:
                part = self.s.recv(n - len(data))
            except ConnectionResetError:
                part = b""
            if not part:
                raise Failure(f"the connection ended after {data[:80]!r}")
            data += part
        return data

    def rest(self, limit=PATIENCE):
        """What comes until the server closes, which it must do."""
        data, end = b"", time.monotonic() + limit
        while True:
            self.s.settimeout(max(end - time.monotonic(), 0.01))
            try:
                part = self.s.recv(1 << 16)
            except ConnectionResetError:
                return data
            except TimeoutError as e:
                raise Failure(f"not closed, but {data[-80:]!r}") from e
            if not part:
                return data
            data = (data + part)[-4096:]

    def quiet(self, seconds):
        self.s.settimeout(seconds)
        try:
            expect("nothing comes", self.s.recv(100), None)
        except TimeoutError:
            pass
        self.s.settimeout(PATIENCE)

    def hang_up(self):
        """Says that it has said everything, and sees that the server closes."""
        try:
            self.s.shutdown(socket.SHUT_WR)
        except OSError:
            pass # it has closed already
        return self.rest()

    def reset(self):
        """Closes without a goodbye."""
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.s.close()

    def login(self, version=b"RFB 003.008\n", security=1):
        """Up to ServerInit: width, height."""
        self.get(12)
        self.send(version)
        if version >= b"RFB 003.007\n":
            self.get(self.get(1)[0])
            self.send(bytes([security]))
            if version >= b"RFB 003.008\n":
                expect("result", self.get(4), bytes(4))
        else:
            expect("type", self.get(4), struct.pack(">I", security))
        return self.init()

    def init(self):
        self.send(b"\1")
        w, h = struct.unpack(">HH", self.get(4))
        self.get(16)
        self.get(struct.unpack(">I", self.get(4))[0])
        return w, h

    def alive(self, limit=PATIENCE):
        """Whatever is under way: it takes a message and answers. Bytes that came before the answer."""
        mark, data, n, end = os.urandom(32), b"", 0, time.monotonic() + limit
        out = self.pending + encodings(0, FENCE) + fence(0x80000000, mark)
        self.pending = b""
        while mark not in data:
            if time.monotonic() > end:
                raise Failure(f"no answer but {n} bytes, the last {data[-60:]!r}")
            # it may listen only to who reads
            able = select.select([self.s], [self.s] if out else [], [], 0 if getattr(self.s, "pending", int)() else 1)
            try:
                if able[1]:
                    out = out[self.s.send(out[:1 << 14]):]
                part = self.s.recv(1 << 18) if able[0] or getattr(self.s, "pending", int)() else None
            except (ConnectionResetError, BrokenPipeError):
                part = b""
            except (BlockingIOError, ssl.SSLWantReadError):
                part = None
            if part == b"":
                raise Failure(f"closed instead of an answer, after {data[-80:]!r}")
            n += len(part or b"")
            data = data[-64:] + (part or b"")
        return n


class Husk:
    """husk-vnc with a player. tcp: options for a second listener on TCP; fds: of files for it, by option."""

    def __init__(self, session, *options, tcp=False, files=()):
        self.session, self.at, self.options, self.tcp, self.files = session, 0, list(options), tcp, files
        self.w, self.h = struct.unpack_from(">HH", session, 8)

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        path, self.path = f"{self.folder.name}/session", f"{self.folder.name}/socket"
        with open(path, "wb") as f:
            f.write(self.session)
        self.input, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fds, options = [theirs.fileno()], [f"--input-fd={theirs.fileno()}", *self.options]
        if self.tcp:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", 0))
            listener.listen(64)
            self.port = listener.getsockname()[1]
            fds.append(listener.fileno())
            options.append(f"--listen-fd={listener.fileno()},tcp")
        for option, data in self.files:
            fd = os.memfd_create(option)
            os.write(fd, data)
            os.lseek(fd, 0, os.SEEK_SET)
            fds.append(fd)
            options.append(f"--{option}={fd}")
        self.log = open(f"{self.folder.name}/log", "w+b")
        self.p = subprocess.Popen([f"{sessions.TOOLS}/play_husk", HUSK_VNC, path, self.path, *options], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=self.log, pass_fds=fds)
        theirs.close()
        if self.tcp:
            listener.close()
        for _, fd in zip(self.files, fds[-len(self.files):] if self.files else ()):
            os.close(fd)
        line = self.p.stdout.readline().split()
        if not line:
            raise Failure(f"husk-vnc does not begin: {self.words()}")
        self.pid = int(line[1])
        self.picture = bytearray(self.w * self.h * 4)
        self.draw()
        self.base = self.fds()
        return self

    def __exit__(self, kind, *_):
        alive = os.path.exists(f"/proc/{self.pid}/status") and "zombie" not in self.status("State")
        self.p.stdin.write(b"q")
        self.p.stdin.close()
        self.p.wait(PATIENCE)
        words = self.words()
        self.log.close()
        self.input.close()
        self.folder.cleanup()
        if not alive or "ERROR: AddressSanitizer" in words or "runtime error" in words:
            raise Failure(f"husk-vnc has died: {words[-4000:]}")
        if kind:
            print(words[-1500:])

    def words(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def status(self, name):
        with open(f"/proc/{self.pid}/status", encoding="ascii", errors="replace") as f:
            return next((line.split(":", 1)[1].strip() for line in f if line.startswith(name + ":")), "")

    def rss(self):
        """MiB: now, and at most since it began"""
        return int(self.status("VmRSS").split()[0]) / 1024, int(self.status("VmHWM").split()[0]) / 1024

    def fds(self):
        try:
            return len(os.listdir(f"/proc/{self.pid}/fd"))
        except PermissionError:
            return None

    def left(self, wires=0):
        """No descriptors but those of open connections; it may take a moment."""
        end = time.monotonic() + PATIENCE
        while self.base is not None and self.fds() != self.base + wires:
            if time.monotonic() > end:
                raise Failure(f"{self.fds()} descriptors, {self.base} at first, {wires} connections")
            time.sleep(0.02)

    def draw(self):
        """The session's next update into our picture; at its end it begins again, as the player cannot."""
        if self.at >= len(self.session):
            raise Failure("the session is too short")
        n = struct.unpack_from(">H", self.session, self.at + 2)[0]
        self.at += 4
        for _ in range(n):
            x, y, w, h, e = struct.unpack_from(">HHHHi", self.session, self.at)
            self.at += 12
            if e == sessions.DESKTOP_SIZE:
                self.w, self.h, self.picture = w, h, bytearray(w * h * 4)
                continue
            paint(self.picture, self.w, x, y, w, h, self.session, self.at)
            self.at += w * h * 4

    def step(self):
        self.p.stdin.write(b"n")
        self.p.stdin.flush()
        if not self.p.stdout.readline():
            raise Failure("the player has ended")
        self.draw()

    def connect(self):
        return Wire(self.path)

    def viewer(self, *ids):
        """Logged in, with these encodings."""
        w = Wire(self.path)
        w.login()
        if ids:
            w.send(encodings(*ids))
        return w


def paint(picture, stride, x, y, w, h, px, at):
    for row in range(h):
        to = ((y + row) * stride + x) * 4
        picture[to:to + w * 4] = px[at + row * w * 4:at + (row + 1) * w * 4]


class Good:
    """A viewer that always sees what there is; on the server's unix socket, in Raw."""

    def __init__(self, husk):
        self.husk, self.wire, self.worst, self.checks = husk, Wire(husk.path), 0, 0
        self.w, self.h = self.wire.login()
        self.wire.send(encodings(0, sessions.DESKTOP_SIZE))
        self.picture = bytearray(self.w * self.h * 4)
        self.wire.send(request(0, 0, self.w, self.h))
        self.until()

    def message(self):
        kind = self.wire.get(1)[0]
        if kind == 2:
            return
        if kind == 3:
            self.wire.get(3)
            self.wire.get(struct.unpack(">I", self.wire.get(4))[0])
            return
        expect("message", kind, 0)
        for _ in range(struct.unpack(">xH", self.wire.get(3))[0]):
            x, y, w, h, e = struct.unpack(">HHHHi", self.wire.get(12))
            if e == sessions.DESKTOP_SIZE:
                self.w, self.h, self.picture = w, h, bytearray(w * h * 4)
                continue
            expect("encoding", e, 0)
            px = self.wire.get(w * h * 4)
            paint(self.picture, self.w, x, y, w, h, px, 0)
        self.wire.send(request(0, 0, self.w, self.h, 1))

    def same(self):
        mine, theirs = self.picture, self.husk.picture
        # without the top bytes, which are anything
        return len(mine) == len(theirs) and all(mine[i::4] == theirs[i::4] for i in range(3))

    def until(self):
        start = time.monotonic()
        while not self.same():
            if time.monotonic() - start > PATIENCE:
                raise Failure("the good viewer does not see the picture")
            self.message()
        return time.monotonic() - start

    def check(self):
        """A change arrives, now."""
        self.husk.step()
        took = self.until()
        self.worst = max(self.worst, took)
        self.checks += 1
        expect_true(f"a change took {took:.2f} s for a good viewer", took < 2 * SLOW)


def session(updates=3000):
    p = sessions.Pictures(W, H)
    return sessions.update(p.colours(300)) + b"".join(sessions.update(*p.patches(1), *p.dots(2)[:2]) for _ in range(updates))


class Bad:
    """A server, the good viewer beside us, and the checks."""

    def __init__(self, *options, **more):
        self.h = Husk(session(), *options, **more)

    def __enter__(self):
        self.h.__enter__()
        self.good = Good(self.h)
        self.sources = 1
        return self

    def __exit__(self, kind, *rest):
        if not kind:
            self.check()
            self.h.left(1)
            now, most = self.h.rss()
            expect_true(f"husk-vnc keeps {now:.0f} MiB", SANITIZED or now < MEMORY / 3)
            print(f"  {self.good.checks} changes seen, at most {self.good.worst * 1000:.0f} ms late; {now:.0f} MiB, at most {most:.0f}")
        self.good.wire.s.close()
        self.h.__exit__(kind, *rest)

    def check(self):
        self.good.check()
        most = self.h.rss()[1]
        expect_true(f"husk-vnc has taken {most:.0f} MiB", SANITIZED or most < MEMORY)

    def tcp(self):
        """From an address that has not failed yet."""
        self.sources += 1
        return Wire((f"127.0.{self.sources >> 8}.{self.sources & 255}", self.h.port))

    def closed(self, data, *ids, where=None):
        """Logged in with these encodings, says data, and is closed."""
        with where or self.h.viewer(*ids) as w:
            if where:
                w.login()
            w.send(data)
            return w.rest()

    def lives(self, data, *ids):
        with self.h.viewer(*ids) as w:
            w.send(data)
            return w.alive()
