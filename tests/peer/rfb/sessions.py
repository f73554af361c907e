# SPDX-License-Identifier: MIT
"""
Sessions (bench/display/session.h) for tests of the RFB server: typical ones by mksession, and pictures that encoders find
hard. The same in every run.
"""
import gzip
import lzma
import os
import random
import struct
import subprocess

TOP = os.path.realpath(os.path.join(os.path.dirname(__file__), "../../.."))
TOOLS = os.environ.get("HUSK_RFB_TOOLS", f"{TOP}/build/rel/tests/peer/rfb")
FONT = "/usr/share/consolefonts/Lat15-VGA16.psf.gz"
DESKTOP_SIZE = -223


def typical(folder, kind, w, h, updates):
    font, path = f"{folder}/font", f"{folder}/{kind}"
    if not os.path.exists(font):
        with gzip.open(FONT) as f, open(font, "wb") as out:
            out.write(f.read())
    subprocess.run([f"{TOOLS}/mksession", kind, str(w), str(h), str(updates), path, font], check=True)
    with open(path, "rb") as f:
        return f.read()


def recorded():
    with lzma.open(f"{TOP}/bench/display/di-text.rfb.xz") as f:
        return f.read()


def rect(x, y, w, h, px):
    assert len(px) == w * h * 4
    return struct.pack(">HHHHi", x, y, w, h, 0) + px


def update(*rects):
    return struct.pack(">HH", 0, len(rects)) + b"".join(rects)


def mode(w, h, px):
    return update(struct.pack(">HHHHi", 0, 0, w, h, DESKTOP_SIZE), rect(0, 0, w, h, px))


class Pictures:
    """Of w x h. The top bytes of pixels are rubbish, which nobody may see."""

    def __init__(self, w, h, seed=1):
        self.w, self.h, self.random = w, h, random.Random(seed)

    def noise(self, w=None, h=None):
        return self.random.randbytes((w or self.w) * (h or self.h) * 4)

    def palette(self, n):
        return [self.random.randbytes(4) for _ in range(n)]

    def whole(self, px):
        return rect(0, 0, self.w, self.h, px)

    def colours(self, n):
        """n of them, each at least once where there is room, most of them in runs."""
        colours, px = self.palette(n), []
        px += colours
        while len(px) < self.w * self.h:
            px += [self.random.choice(colours)] * self.random.choice((1, 1, 2, 7, 40))
        return self.whole(b"".join(px[:self.w * self.h]))

    def runs(self):
        """Lengths around the places where counters grow by a byte."""
        px = []
        while len(px) < self.w * self.h:
            px += self.palette(1) * self.random.choice((1, 2, 127, 128, 129, 254, 255, 256, 257, 509, 510, 511, 765, 4095, 4096))
        return self.whole(b"".join(px[:self.w * self.h]))

    def near(self, x, y):
        """Two greys that formats with few bits cannot tell from each other."""
        return rect(x, y, 2, 1, b"\x80\x80\x80\x00\x81\x81\x81\x00")

    def lines(self):
        a, b = self.palette(2)
        return self.whole(b"".join((a if (x ^ y) & 1 else b) if y % 16 < 8 else (a, b)[x & 1] for y in range(self.h) for x in range(self.w)))

    def gradient(self):
        return self.whole(b"".join(struct.pack("<I", x * 255 // self.w << 16 | y * 255 // self.h << 8 | (x + y & 255))
                                   for y in range(self.h) for x in range(self.w)))

    def dots(self, n):
        """Single pixels, corners too."""
        at = [(0, 0), (self.w - 1, 0), (0, self.h - 1), (self.w - 1, self.h - 1)]
        at += [(self.random.randrange(self.w), self.random.randrange(self.h)) for _ in range(n)]
        return [rect(x, y, 1, 1, self.random.randbytes(4)) for x, y in at]

    def patches(self, n):
        out = []
        for _ in range(n):
            x, y = self.random.randrange(self.w), self.random.randrange(self.h)
            w, h = self.random.randint(1, min(90, self.w - x)), self.random.randint(1, min(90, self.h - y))
            c = self.palette(self.random.choice((1, 2, 3, 20)))
            out.append(rect(x, y, w, h, b"".join(self.random.choices(c, k=w * h))))
        return out

    def strips(self):
        return [rect(self.w // 3, 0, 1, self.h, self.noise(1, self.h)), rect(0, self.h // 3, self.w, 1, self.noise(self.w, 1)),
                rect(self.w - 1, 0, 1, self.h, self.palette(1)[0] * self.h), rect(0, self.h - 1, self.w, 1, self.palette(1)[0] * self.w)]

    def moved(self, px, dx, dy):
        """px, a whole picture, moved; what is uncovered is noise."""
        out = bytearray(self.noise())
        for y in range(max(0, dy), min(self.h, self.h + dy)):
            x0, x1 = max(0, dx), min(self.w, self.w + dx)
            out[(y * self.w + x0) * 4:(y * self.w + x1) * 4] = px[((y - dy) * self.w + x0 - dx) * 4:((y - dy) * self.w + x1 - dx) * 4]
        return bytes(out)


def window(w, h, px, stride, steps):
    """What is at px, of half the width and height, slides over a plain screen."""
    rows, black = [px[y * stride * 4:y * stride * 4 + w // 2 * 4] for y in range(h // 2)], bytes(w * 4)
    out = []
    for i in range(steps):
        x, y = i * (w // 2 // steps) // 8 * 8, i * (h // 2 // steps)
        picture = [black] * y + [black[:x * 4] + row + black[:(w - w // 2 - x) * 4] for row in rows] + [black] * (h - y - h // 2)
        out.append(update(rect(0, 0, w, h, b"".join(picture))))
    return b"".join(out)


def nasty(w, h, first=None):
    """first: makes the first update, if it is not the session's"""
    p, out = Pictures(w, h), []
    out.append(first(w, h, p.noise()) if first else update(p.whole(p.noise())))
    out.append(update(*p.dots(40)))
    for n in (1, 2, 3, 4, 5, 16, 17, 96, 127, 128, 256, 257):
        out.append(update(p.colours(n)))
    out.append(update(*p.patches(12), p.near(0, 0), p.near(w - 2, h - 1)))
    out.append(update(p.runs()))
    out.append(update(*p.strips()))
    out.append(update(p.lines()))
    out.append(update(p.gradient()))
    out.append(update(*p.dots(300)))
    px = p.noise()
    out.append(update(p.whole(px)))
    for dx, dy in ((0, -5), (3, 0), (-7, 9), (1, 1)):
        px = p.moved(px, dx, dy)
        out.append(update(p.whole(px)))
    out.append(update(p.whole(bytes(w * h * 4))))
    return b"".join(out)


def sizes(seed=2):
    """The mode changes all the time."""
    r, out = random.Random(seed), []
    for i, (w, h) in enumerate([(320, 200), (640, 400), (333, 217), (1, 1), (64, 64), (65, 63), (800, 16), (16, 800), (320, 200), (17, 1),
                                (1024, 300), (100, 100), (320, 200)]):
        p = Pictures(w, h, seed=i)
        picture = rect(0, 0, w, h, b"".join(r.choices(p.palette(r.choice((1, 2, 5, 300))), k=w * h)))
        out.append(update(picture) if not i else update(struct.pack(">HHHHi", 0, 0, w, h, DESKTOP_SIZE), picture))
        out.append(update(*p.dots(3)))
    return b"".join(out)
