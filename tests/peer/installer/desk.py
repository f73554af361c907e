# SPDX-License-Identifier: MIT
"""
A desktop for a viewer: an X server without a display, whose picture is read from its framebuffer file and whose mouse and
keyboard are xdotool. Pictures are (width, height, pixels of four bytes), rectangles (x, y, width, height).
"""
import ctypes
import ctypes.util
import os
import struct
import subprocess
import time

from husk import SLOW, Failure, expect, expect_true

TOOLS = ("Xvfb", "xdotool", "xtigervncviewer")
PNG_IMAGE_VERSION, PNG_FORMAT_BGRA = 1, 0x13


class PngImage(ctypes.Structure):
    """png_image of libpng's simplified interface."""
    _fields_ = [("opaque", ctypes.c_void_p), ("version", ctypes.c_uint32), ("width", ctypes.c_uint32), ("height", ctypes.c_uint32),
                ("format", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("colormap_entries", ctypes.c_uint32),
                ("warning_or_error", ctypes.c_uint32), ("message", ctypes.c_char * 64)]


def png_picture(data):
    """What is in a PNG. By libpng, since pictures.read_png() takes seconds; a viewer's machine has it."""
    png, image = ctypes.CDLL(ctypes.util.find_library("png16") or "libpng16.so.16"), PngImage(version=PNG_IMAGE_VERSION)
    expect_true("it is a PNG", png.png_image_begin_read_from_memory(ctypes.byref(image), data, ctypes.c_size_t(len(data))))
    image.format = PNG_FORMAT_BGRA
    pixels = ctypes.create_string_buffer(image.width * image.height * 4)
    expect_true("it can be read", png.png_image_finish_read(ctypes.byref(image), None, pixels, 0, None))
    return image.width, image.height, pixels.raw


def part(picture, rect):
    """A rectangle of a picture, as a picture."""
    (w, _, px), (x, y, rw, rh) = picture, rect
    return rw, rh, b"".join(px[((y + i) * w + x) * 4:((y + i) * w + x + rw) * 4] for i in range(rh))


def colours(picture):
    """The colours of a picture and how many pixels have each, most frequent first."""
    count = {}
    for (v,) in struct.iter_unpack("<I", picture[2]):
        count[v & 0xffffff] = count.get(v & 0xffffff, 0) + 1
    return sorted(count.items(), key=lambda kv: -kv[1])


def rgb(picture):
    """Without the fourth byte, which nobody sees."""
    n = len(picture[2]) // 4
    a = int.from_bytes(picture[2], "little") & int.from_bytes(b"\xff\xff\xff\0" * n, "little")
    return a.to_bytes(4 * n, "little")


def difference(a, b):
    """None if two pictures are alike, else the rectangle around what differs."""
    if a[:2] != b[:2]:
        return 0, 0, max(a[0], b[0]), max(a[1], b[1])
    w, h = a[:2]
    pa, pb = rgb(a), rgb(b)
    if pa == pb:
        return None
    rows = [y for y in range(h) if pa[y * w * 4:(y + 1) * w * 4] != pb[y * w * 4:(y + 1) * w * 4]]
    left, right = w, 0
    for y in rows:
        ra, rb = pa[y * w * 4:(y + 1) * w * 4], pb[y * w * 4:(y + 1) * w * 4]
        left = min(left, len(os.path.commonprefix([ra, rb])) // 4)
        right = max(right, w - len(os.path.commonprefix([ra[::-1], rb[::-1]])) // 4)
    return left, rows[0], right - left, rows[-1] + 1 - rows[0]


class Desk:
    """An X server of that size. HOME is a folder of the test's: the viewer keeps its settings there."""

    def __init__(self, box, size=(1500, 1000)):
        self.box, self.size = box, size

    def begin(self):
        """Starts an X server that stays when its last client goes; the number of its display."""
        read, write = os.pipe()
        self.x = subprocess.Popen(["Xvfb", "-displayfd", str(write), "-screen", "0", f"{self.size[0]}x{self.size[1]}x24", "-fbdir",
                                   self.folder, "-nolisten", "tcp", "-noreset"], pass_fds=[write], stderr=subprocess.DEVNULL)
        os.close(write)
        with os.fdopen(read, encoding="ascii") as f:  # to the end of the line: what it cannot write kills it
            return f.readline().strip()

    def __enter__(self):
        self.folder = f"{self.box.dir}/x"
        os.mkdir(self.folder)
        for _ in range(5):  # others choose displays at the same time
            number = self.begin()
            env = {**self.box.env, "DISPLAY": f":{number}"}
            if number and not subprocess.run(["xdotool", "getmouselocation"], env=env, capture_output=True, timeout=30 * SLOW,
                                             check=False).returncode and self.x.poll() is None:
                break
            self.x.kill()
            self.x.wait()
        self.env = {**self.box.env, "DISPLAY": f":{number}", "HOME": self.box.dir, "HUSK_VIEWER": "xtigervncviewer"}
        return self

    def __exit__(self, *_):
        self.x.terminate()
        self.x.wait()

    def do(self, *words):
        """xdotool; its output."""
        p = subprocess.run(["xdotool", *map(str, words)], env=self.env, capture_output=True, timeout=30 * SLOW, check=False)
        if p.returncode:
            raise Failure(f"xdotool {' '.join(map(str, words))}: {p.stderr.decode()}")
        return p.stdout.decode()

    def picture(self, rect):
        """What is on the desktop there: xwd's format, most numbers in its head big-endian."""
        with open(f"{self.folder}/Xvfb_screen0", "rb") as f:
            head = struct.unpack(">25I", f.read(100))
            expect("bits per pixel, byte order", (head[11], head[7]), (32, 0))
            start, (x, y, w, h), stride = head[0] + head[19] * 12, rect, head[12]
            f.seek(start + y * stride)
            rows = f.read(h * stride)
        return w, h, b"".join(rows[i * stride + x * 4:i * stride + (x + w) * 4] for i in range(h))


class Viewer:
    """What somebody does in the window of a viewer: points are the guest's pixels."""

    def __init__(self, desk, start, name):
        self.desk, self.p, self.name, self.window = desk, start(desk.env), name, None
        self.at = (0, 0, 0, 0)

    def there(self):
        """Whether its window is, and where."""
        try:
            self.window = self.desk.do("search", "--onlyvisible", "--name", f"^{self.name} - ").split()[-1]
            words = dict(w.split("=") for w in self.desk.do("getwindowgeometry", "--shell", self.window).split())
        except (Failure, IndexError):
            return False
        self.at = tuple(int(words[k]) for k in ("X", "Y", "WIDTH", "HEIGHT"))
        return True

    def picture(self):
        return self.desk.picture(self.at)

    def focus(self):
        self.desk.do("windowfocus", "--sync", self.window)

    def move(self, x, y):
        self.desk.do("mousemove", self.at[0] + x, self.at[1] + y)

    def away(self):
        """Off the window, so that the X server's pointer is not in the picture; the guest's stays."""
        self.desk.do("mousemove", self.desk.size[0] - 2, self.desk.size[1] - 2)

    def click(self, x, y, button=1, times=1):
        self.move(x, y)
        self.desk.do("click", "--repeat", times, "--delay", 60, button)

    def key(self, *names):
        self.focus()
        self.desk.do("key", "--delay", 60, *names)

    def type(self, text):
        """A line feed would be a key of its own: key("Return")."""
        self.focus()
        self.desk.do("type", "--delay", 40, text)

    def close(self):
        self.p.terminate()
        self.p.wait(10 * SLOW)


def until(what, condition, seconds=20, step=0.15):
    """Waits for a condition; its value."""
    deadline = time.monotonic() + seconds * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"not within {seconds * SLOW:.0f} s: {what}")
        time.sleep(step)
