# SPDX-License-Identifier: MIT
"""What tests of the screen share: PNG and husk record's files, read."""
import struct
import zlib

from husk import expect, expect_true


def read_png(data):
    """Width, height, rows of RGB bytes."""
    expect("signature", data[:8], b"\x89PNG\r\n\x1a\n")
    at, idat = 8, b""
    while at < len(data):
        n, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IHDR":
            w, h = struct.unpack_from(">II", data, at + 8)
        if kind == b"IDAT":
            idat += data[at + 8:at + 8 + n]
        at += 12 + n
    raw, rows, last = zlib.decompress(idat), [], bytes(3 * w)
    for y in range(h):
        kind, line = raw[y * (3 * w + 1)], bytearray(raw[y * (3 * w + 1) + 1:(y + 1) * (3 * w + 1)])
        for i, v in enumerate(line):
            a, b, c = (line[i - 3] if i >= 3 else 0), last[i], (last[i - 3] if i >= 3 else 0)
            p = a + b - c
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            line[i] = (v + (0, a, b, (a + b) // 2, paeth)[kind]) & 0xff
        rows.append(bytes(line))
        last = bytes(line)
    return w, h, rows


def zrle_palette(data, at):
    """How a tile is written, its palette, and where that ends (RFC 6143, 7.7.6); a pixel has three bytes."""
    kind, at = data[at], at + 1
    size = 0 if kind in (0, 128) else kind & 127
    palette = [data[at + 3 * i:at + 3 * i + 3] + b"\0" for i in range(size)]
    at += 3 * size
    return kind, palette, at


def zrle_run(data, at):
    length = 1
    while data[at] == 255:
        length, at = length + 255, at + 1
    return length + data[at], at + 1


def zrle(data, w, h):
    """Rows of four bytes per pixel, all of it."""
    px, at = bytearray(w * h * 4), 0
    for ty in range(0, h, 64):
        for tx in range(0, w, 64):
            tw, th = min(64, w - tx), min(64, h - ty)
            kind, palette, at = zrle_palette(data, at)
            tile = []
            if kind == 0:
                tile = [data[at + 3 * i:at + 3 * i + 3] + b"\0" for i in range(tw * th)]
                at += 3 * tw * th
            elif kind == 1:
                tile = palette * (tw * th)
            elif kind <= 16:
                bits = 1 if kind == 2 else 2 if kind <= 4 else 4
                for _ in range(th):
                    row = data[at:at + (tw * bits + 7) // 8]
                    at += len(row)
                    tile += [palette[row[x * bits // 8] >> (8 - bits - x * bits % 8) & (1 << bits) - 1] for x in range(tw)]
            else:
                while len(tile) < tw * th:
                    if kind == 128:
                        colour, many, at = data[at:at + 3] + b"\0", True, at + 3
                    else:
                        colour, many, at = palette[data[at] & 127], data[at] & 128, at + 1
                    length, at = zrle_run(data, at) if many else (1, at)
                    tile += [colour] * length
            for y in range(th):
                to = ((ty + y) * w + tx) * 4
                px[to:to + 4 * tw] = b"".join(tile[y * tw:(y + 1) * tw])
    expect("all of the rectangle", at, len(data))
    return px


def play(data):
    """All pictures of a recording by husk record: (milliseconds, width, height, pixels)."""
    expect("head", data[:12], b"FBS 001.000\n")
    at, stream, when = 12, b"", []
    while at < len(data):
        n = struct.unpack_from(">I", data, at)[0]
        pad = -n % 4
        stream += data[at + 4:at + 4 + n]
        when.append((len(stream), struct.unpack_from(">I", data, at + 4 + n + pad)[0]))
        expect("padding", data[at + 4 + n:at + 4 + n + pad], bytes(pad))
        at += 8 + n + pad
    expect("whole", at, len(data))
    expect("version", stream[:16], b"RFB 003.003\n\0\0\0\1")
    w, h = struct.unpack_from(">HH", stream, 16)
    expect("format", stream[20:33], bytes([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0]))
    n = struct.unpack_from(">I", stream, 36)[0]
    at, z, pictures, px = 40 + n, zlib.decompressobj(), [], bytearray(w * h * 4)
    expect_true("name", stream[40:at].endswith(b" (husk)"))
    while at < len(stream):
        kind, rects = struct.unpack_from(">BxH", stream, at)
        expect_true("an update", kind == 0 and rects)
        at += 4
        for _ in range(rects):
            x, y, rw, rh, enc = struct.unpack_from(">HHHHi", stream, at)
            at += 12
            if enc == -223:
                w, h, px = rw, rh, bytearray(rw * rh * 4)
                continue
            expect_true(f"inside: {x} {y} {rw} {rh} of {w} {h}", x + rw <= w and y + rh <= h and rw and rh)
            if enc == 16:
                n = struct.unpack_from(">I", stream, at)[0]
                raw = zrle(z.decompress(stream[at + 4:at + 4 + n]), rw, rh)
                at += 4 + n
            else:
                expect("encoding", enc, 0)
                raw = stream[at:at + rw * rh * 4]
                at += len(raw)
            expect("pixels", len(raw), rw * rh * 4)
            for row in range(rh):
                px[((y + row) * w + x) * 4:((y + row) * w + x + rw) * 4] = raw[row * rw * 4:(row + 1) * rw * 4]
        ms = next(t for end_at, t in when if end_at >= at)
        pictures.append((ms, w, h, bytes(px)))
    return pictures


def bgrx(rows):
    """Rows of RGB as a recording has them."""
    return b"".join(row[i + 2:i + 3] + row[i + 1:i + 2] + row[i:i + 1] + b"\0" for row in rows for i in range(0, len(row), 3))
