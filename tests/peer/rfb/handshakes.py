# SPDX-License-Identifier: MIT
"""Items 1 to 3 of tests/peer/rfb/negative: versions, security types, passwords, TLS."""
import random
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time

from rfbwire import FENCE, H, SLOW, W, Bad, Wire, encodings, expect, expect_true, request

PASSWORD = b"sesame, open"
HANDSHAKE = 20 # seconds that a peer has until it is logged in


# --- 1: versions -----------------------------------------------------------------------------------------

def versions():
    good = {b"003.003": 3, b"003.005": 3, b"003.006": 3, b"003.007": 7, b"003.008": 8, b"003.009": 8, b"003.889": 8, b"004.000": 8,
            b"004.001": 8, b"005.000": 8, b"999.999": 8}
    bad = [b"RFB 002.009\n", b"RFB 000.000\n", bytes(12), b"GET / HTTP/1.1\r\n", b"RFB 003.008\r", b"RFB 003,008\n", b"RFB 003.00x\n",
           b"\xff" * 12, b"rfb 003.008\n", b"RFB -03.008\n", b"SSH-2.0-x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\0"]
    with Bad("--open", tcp=True) as b:
        slow, silent = b.h.connect(), b.tcp()
        began = time.monotonic()

        def drip():
            # a byte per second, slower than the whole handshake may take
            slow.get(12)
            for c in b"RFB 003.00":
                slow.send(bytes([c]))
                time.sleep(1)
            slow.send(b"8\n")
            expect("types", slow.get(2), b"\1\1")
        dripping = threading.Thread(target=drip)
        dripping.start()
        for connect in (b.h.connect, b.tcp):
            for text, kind in good.items():
                with connect() as w:
                    w.get(12)
                    w.send(b"RFB " + text + b"\n")
                    if kind == 3:
                        expect("type", w.get(4), b"\0\0\0\1")
                    else:
                        expect("types", w.get(2), b"\1\1")
                        w.send(b"\1")
                        expect_true("no result before 3.8", kind == 7 or w.get(4) == bytes(4))
                    w.init()
                    w.alive()
            for text in bad:
                with connect() as w:
                    w.get(12)
                    w.send(text)
                    expect("after a bad version", w.rest(), b"")
            for n in range(12):
                with connect() as w:
                    w.send(b"RFB 003.008\n"[:n])
                with connect() as w:
                    w.send(b"RFB 003.008\n"[:n])
                    expect("version", w.hang_up(), b"RFB 003.008\n")
            b.check()
        # all that a viewer says before it hears anything, at once
        with b.h.connect() as w:
            w.send(b"RFB 003.008\n\1\1" + encodings(0, FENCE) + request(0, 0, 1, 1))
            w.get(12 + 2 + 4)
            w.get(struct.unpack(">20xI", w.get(24))[0])
            w.alive()
        dripping.join()
        b.check()
        # who says nothing may do so for a while
        silent.rest(began + (HANDSHAKE + 10) * SLOW - time.monotonic())
        slow.rest(began + (HANDSHAKE + 10) * SLOW - time.monotonic())
        silent.s.close()
        slow.s.close()


# --- 2: types ----------------------------------------------------------------------------------------------

def offered(w, version):
    """The types that are offered; what came with them is read."""
    w.get(12)
    w.send(b"RFB 003.%03d\n" % version)
    if version < 7:
        return w.get(4)[3:]
    return w.get(w.get(1)[0])


def response(challenge):
    """Of VNC authentication, by openssl: DES in ECB mode is an old algorithm there."""
    k = bytes(int(f"{c:08b}"[::-1], 2) for c in PASSWORD[:8].ljust(8, b"\0"))
    # three times the same key is plain DES
    return subprocess.run(["openssl", "enc", "-des-ede3", "-nopad", "-K", (k * 3).hex()], input=challenge, check=True,
                          stdout=subprocess.PIPE).stdout


def types_on(b, connect, right):
    """Everything but right is refused; nothing is logged in."""
    for version in (7, 8):
        for kind in [*range(0, 40), 129, 254, 255]:
            if kind == right:
                continue
            with connect() as w:
                expect("types", offered(w, version), bytes([right]))
                # and what a viewer that is in would say
                w.send(bytes([kind]) + b"\1" + request(0, 0, W, H))
                data = w.rest()
                expect_true(f"{kind} was refused with {data!r}", not data or (version == 8 and data[:4] == b"\0\0\0\1"))
    b.check()


def types():
    with Bad("--open", tcp=True) as b:
        types_on(b, b.h.connect, 1)
        types_on(b, b.tcp, 1)
    with Bad(tcp=True, files=[("password-fd", PASSWORD)]) as b:
        types_on(b, b.tcp, 2)
        with b.tcp() as w:
            expect("3.3 has no choice", offered(w, 3), b"\2")
            w.get(16)
            w.send(bytes(16))
            expect("result", w.rest(), b"\0\0\0\1")
        for version in (3, 7, 8):
            with b.tcp() as w:
                offered(w, version)
                if version > 3:
                    w.send(b"\2")
                w.send(response(w.get(16)))
                expect("result", w.get(4), bytes(4))
                expect("size", w.init(), (W, H))
                w.alive()
            # no result, but a session: what is sent early is not believed
            with b.tcp() as w:
                offered(w, version)
                w.send((b"\2" if version > 3 else b"") + bytes(16) + b"\1" + encodings(0, FENCE) + request(0, 0, W, H))
                expect_true("refused", len(w.rest()) < 100)
            for n in range(16):
                with b.tcp() as w:
                    offered(w, version)
                    w.send((b"\2" if version > 3 else b"") + bytes(n))
        with b.tcp() as w: # the type twice: the second one is part of the response
            offered(w, 8)
            w.send(b"\2\2")
            challenge = w.get(16)
            w.send(response(challenge)[:15])
            expect("result", w.rest()[:4], b"\0\0\0\1")
        b.check()


# --- 3: passwords, TLS --------------------------------------------------------------------------------------

def guess(b, source, right=False):
    """One attempt from an address: what the server says to it."""
    with Wire((source, b.h.port)) as w:
        n = (w.get(12), w.send(b"RFB 003.008\n"), w.get(1)[0])[2]
        if not n:
            return "blocked"
        w.send(w.get(n))
        challenge = w.get(16)
        w.send(response(challenge) if right else bytes(16))
        return "right" if w.get(4) == bytes(4) else "wrong"


def passwords():
    with Bad(tcp=True, files=[("password-fd", PASSWORD)]) as b:
        for _ in range(3): # a right one is forgiven the wrong ones before
            expect("four times", [guess(b, "127.0.9.1") for _ in range(4)], ["wrong"] * 4)
            expect("the right one", guess(b, "127.0.9.1", True), "right")
        for i in range(5):
            expect(f"guess {i}", guess(b, "127.0.9.2"), "wrong")
        expect("too many", [guess(b, "127.0.9.2", True) for _ in range(3)], ["blocked"] * 3)
        expect("another address", guess(b, "127.0.9.3", True), "right")
        # guesses in parallel, all connected before the first one was wrong
        wires = [Wire(("127.0.9.4", b.h.port)) for _ in range(30)]
        for w in wires:
            expect("types", offered(w, 8), b"\2")
            w.send(b"\2")
        challenges = [w.get(16) for w in wires]
        wrong = 0
        for w in wires[:-1]:
            w.send(bytes(16))
            wrong += w.rest()[:4] == b"\0\0\0\1"
        expect("guesses that were looked at", wrong, 5)
        wires[-1].send(response(challenges[-1]))
        expect_true("a right guess after 29 wrong ones comes too late", wires[-1].rest() == b"")
        for w in wires:
            w.s.close()
        expect("they were counted", guess(b, "127.0.9.4", True), "blocked")
        b.check()


def crowd():
    """More half-open connections than there may be: the oldest of them go, and who is logged in stays."""
    with Bad(tcp=True, files=[("password-fd", PASSWORD)]) as b:
        viewers = [b.h.viewer(0, FENCE) for _ in range(20)]
        silent = [b.h.connect() if i & 1 else b.tcp() for i in range(200)]
        b.check()
        for w in viewers:
            w.alive()
        with b.h.connect() as w:
            w.login()
            w.alive()
        for w in viewers + silent:
            w.s.close()
        b.h.left(1)
        # as many as there may be who are logged in
        viewers = [b.h.viewer(0, FENCE) for _ in range(63)]
        with b.h.connect() as w:
            expect("one too many", w.rest(), b"")
        b.check()
        for w in viewers:
            w.alive()
            w.s.close()


def certificate(folder):
    cert, key_path = f"{folder}/cert", f"{folder}/key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key_path, "-out", cert], check=True,
                   stderr=subprocess.DEVNULL)
    with open(cert, "rb") as c, open(key_path, "rb") as k:
        return cert, [("tls-cert-fd", c.read()), ("tls-key-fd", k.read()), ("password-fd", PASSWORD)]


def venc(w, subtype):
    """VeNCrypt, up to where TLS begins."""
    expect("types", offered(w, 8), b"\x13")
    w.send(b"\x13")
    expect("version", w.get(2), b"\0\2")
    w.send(b"\0\2")
    expect("accepted", w.get(1), b"\0")
    kinds = struct.unpack(f">{(n := w.get(1)[0])}I", w.get(4 * n))
    w.send(struct.pack(">I", subtype))
    return kinds


def inside(w, cert, subtype=262):
    venc(w, subtype)
    expect("accepted", w.get(1), b"\1")
    w.s = ssl.create_default_context(cafile=cert).wrap_socket(w.s, server_hostname="localhost")
    return w


def tls():
    with tempfile.TemporaryDirectory() as folder:
        cert, files = certificate(folder)
        with Bad("--tls-anonymous", tcp=True, files=files) as b:
            types_on(b, b.tcp, 19)
            with b.tcp() as w: # 3.3 cannot have TLS
                expect("no type", offered(w, 3), b"\0")
                w.rest()
            for version in (b"\0\0", b"\0\1", b"\0\3", b"\2\0", b"\xff\xff"):
                with b.tcp() as w:
                    offered(w, 8)
                    w.send(b"\x13")
                    w.get(2)
                    w.send(version)
                    expect("refused", w.rest(), b"\xff")
            # None inside TLS was not offered, nor is there anything else
            for subtype in (0, 1, 2, 19, 255, 256, 257, 260, 263, 264, 1 << 24, 0xffffffff):
                with b.tcp() as w:
                    expect("subtypes", sorted(venc(w, subtype)), [258, 259, 261, 262])
                    expect("refused", w.rest(), b"\0")
            with b.tcp() as w: # in the clear where TLS begins, in one packet
                offered(w, 8)
                w.send(b"\x13")
                w.get(2)
                w.send(b"\0\2" + struct.pack(">I", 262) + b"\x16\x03\x01")
                expect_true("refused", len(w.rest()) <= 2 + 16 + 1)
            tls_cut(b, cert)
            plain(b, cert)


def hello(cert):
    """A ClientHello"""
    out, context = ssl.MemoryBIO(), ssl.create_default_context(cafile=cert)
    s = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    try:
        s.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


def tls_cut(b, cert):
    data = hello(cert)
    for n in range(0, len(data) + 1, 7):
        with b.tcp() as w:
            venc(w, 262 if n & 1 else 259)
            w.get(1)
            w.send(data[:n])
            if n % 3 == 0:
                w.hang_up()
    b.check()
    r = random.Random(4)
    for _ in range(40):
        bad = bytearray(data)
        for _ in range(r.randint(1, 5)):
            bad[r.randrange(len(bad))] = r.randrange(256)
        with b.tcp() as w:
            venc(w, 262)
            w.get(1)
            w.send(bytes(bad) + r.randbytes(200))
            w.hang_up()
    b.check()
    # byte by byte, and cut at each record of a whole handshake
    for n in range(6):
        with b.tcp() as w:
            venc(w, 262)
            w.get(1)
            into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
            t = ssl.create_default_context(cafile=cert).wrap_bio(into, out, server_hostname="localhost")
            for _ in range(n):
                try:
                    t.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    for c in out.read():
                        w.send(bytes([c]))
                    into.write(w.s.recv(1 << 16))
    b.check()


def plain(b, cert):
    def said(lengths, words):
        with inside(b.tcp(), cert) as w:
            w.send(struct.pack(">II", *lengths) + words)
            return w.get(4) if w else None
    expect("the right one", said((1, len(PASSWORD)), b"u" + PASSWORD), bytes(4))
    expect("no user", said((0, len(PASSWORD)), PASSWORD), bytes(4))
    for lengths in ((0, 0), (1025, 1), (1, 1025), (1 << 31, 5), (5, 1 << 31), (0xffffffff, 0xffffffff), (0xffffffff, 1), (1, 0xffffffff),
                    (0x80000001, 0x80000001)):
        expect(f"lengths {lengths}", said(lengths, bytes(64)), b"\0\0\0\1")
    for words in (PASSWORD[:8], PASSWORD + b"\0", PASSWORD[:-1], bytes(len(PASSWORD)), b"x" * 1024):
        expect("another password", said((1, len(words)), b"u" + words), b"\0\0\0\1")
    expect("as long as it may be", said((1024, 1024), bytes(2048)), b"\0\0\0\1")
    # a session, and its end without a goodbye, and in the middle of a record
    for end in range(3):
        with inside(b.tcp(), cert) as w:
            w.send(struct.pack(">II", 1, len(PASSWORD)) + b"u" + PASSWORD)
            expect("result", w.get(4), bytes(4))
            w.init()
            w.alive()
            w.send(encodings(0) + request(0, 0, W, H) * 3)
            if end == 1:
                raw = socket.socket(fileno=w.s.detach())
                raw.sendall(b"\x17\x03\x03\x40\x00" + bytes(100))
                raw.close()
                w.s = socket.socket()
            elif end == 2:
                raw = socket.socket(fileno=w.s.detach())
                raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
                raw.shutdown(socket.SHUT_WR)
                w.s = raw
                w.rest()
    b.check()


ITEMS = {f.__name__: f for f in (versions, types, passwords, crowd, tls)}
