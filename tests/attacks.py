"""The attempts that the server must withstand: one corpus, run against its parts and against running containers."""

from __future__ import annotations

import struct
import zlib

HOSTS_INSIDE = [
    "127.0.0.1", "localhost", "LOCALHOST", "localhost.", "127.0.0.1.", "127.1", "127.0.1", "2130706433",
    "0x7f000001", "0x7F.1",
    "0177.0.0.1", "017700000001", "0", "0.0.0.0", "127.0.0.1.nip.test", "10.0.0.7", "169.254.169.254", "100.64.0.9",
    "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1%25lo]",
    "[fd00::1]", "１２７.0.0.1", "①②⑦.0.0.1", "127。0。0。1", "metadata.test", "mixed.test", "unknown.test",
]  # fmt: skip
"""Hosts of URLs that lead inside, written in many ways."""

ODD_URLS = [
    "http://user:pass@images.test/", "http://@images.test/", "http://images.test\\@other.test/",
    "http:\\\\images.test/",
    "http://images.test/\r\nHost: other", "http:// images.test/", "http://", "http:///x", "http://[::1",
    "http://images.test:99999/",
    "file:///etc/passwd", "ftp://images.test/a", "gopher://images.test/", "s3://bucket/key", "//images.test/a",
    "a" * 9000,
    "http://images.test:port/", "jar:http://images.test!/",
]  # fmt: skip

REDIRECTS_INSIDE = [
    "http://127.0.0.1:{port}/in", "http://other.test:{port}/in", "//127.0.0.1:{port}/in",
    "http://2130706433:{port}/in",
    "file:///etc/passwd", "http://u:p@images.test:{port}/in", "ftp://images.test/in", "http://[::1]:{port}/in",
    "data:,x",
]  # fmt: skip
"""Where a redirect from outside must not lead; ``{port}`` is the port of a server inside."""

PATHS_OUTSIDE = [
    "{tree}/secret.png", "../secret.png", "{tree}/media/../secret.png", "{tree}/media2/b.png", "link-out.png",
    "fifo.png",
    "folder-out/secret.png", "device.png", "loop", "video", ".", "", "/", "/etc/passwd", "/dev/zero",
    "/proc/self/environ",
    "no-such.png", "/no/such.png", "a.png/x", "a.png\0.jpg", "\0", "x" * 300, "x/" * 3000, "\udcff\ud800",
    "~root/a.png",
    "..\\secret.png", "%2e%2e/secret.png", "....//secret.png",
]  # fmt: skip
"""What is not below the media root ``{tree}/media``, or no regular file."""

NO_REFERENCES = [
    "", " ", "data:", "data:image/png", "data:image/png;base64", "data:image/png;base64,", "data:image/png,abc",
    "data:image/png;base64,!!!!", "data:image/png;base64,A", "data:image/png;base64,é", "data:image/png;base64,\ud800",
    "data:image/png;base64,AAAA", "file:///etc/passwd", "ftp://images.test/a", "s3://bucket/a", "javascript:alert(1)",
    "http:/images.test", "http:\\\\images.test/", "/etc/passwd", "C:\\a.png", "blob:http://x/y", "\0", "🎈",
]  # fmt: skip
"""Texts in place of an image that are no data URI, URL or path of one."""


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Return an HTTP answer, byte by byte as a test wants it."""
    lines = [f"HTTP/1.1 {status}", *(headers or (f"content-length: {len(body)}",)), "", ""]
    return "\r\n".join(lines).encode() + body


NO_MEDIA = [
    (answer(b"no", status="403 Forbidden"), "status 403"),
    (answer(b"x", "content-length: 1", status="206 Partial Content"), "status 206"),
    (answer(b"", "content-length: 0", status="302 Found"), "redirects to nowhere"),
    (answer(b"short", "content-length: 50"), "before the body was complete"),
    (answer(b"5\r\nabc", "transfer-encoding: chunked"), "before the body was complete"),
    (answer(b"x", "content-length: 1", "content-encoding: gzip"), "compresses"),
    (b"SSH-2.0-OpenSSH_9.6\r\n", "valid HTTP"),
    (answer(b"x", "content-length: -1"), "valid HTTP"),
    (answer(b"x", "x: " + "y" * 20_000, "content-length: 1"), "valid HTTP"),
    (b"", "before the body was complete"),
]
"""Answers of a server outside that are no medium, and the words of the refusal."""

BOUNDARY = "limit"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"

NO_MULTIPART = [
    "", "application/json", "multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=limit",
    "multipart/form-data; boundary=" + "x" * 500, "multipart/form-data; boundary=other", ";;;",
    "multipart/form-data; boundary=é",
    'multipart/form-data; boundary="',
]  # fmt: skip
"""Content types that are no multipart upload with the boundary "limit"."""

METADATA = b'{"model": "m"}'


def part(name: str, data: bytes, *, filename: str | None = "f", headers: str = "") -> bytes:
    file = f'; filename="{filename}"' if filename is not None else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n{headers}\r\n'
    return head.encode() + data + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
WHOLE = part("metadata", METADATA, filename=None) + part("image", b"\x89PNG\r\n--limi") + END

BROKEN_BODIES = [
    b"",
    b"garbage",
    END,
    WHOLE[:-6],
    WHOLE[:60],
    WHOLE.replace(b"\r\n\r\n", b"\n\n"),
    WHOLE.replace(b"--limit\r", b"--limit "),
    part("image", b"x") + END,
    part("metadata", METADATA) + part("metadata", METADATA) + part("image", b"x") + END,
    part("metadata", METADATA, headers="x: y\r\n" * 50) + END,
    part("metadata", METADATA, headers="x: " + "y" * 20_000 + "\r\n") + END,
    part("metadata", METADATA, headers="x" * 20_000 + ": y\r\n") + END,
    part("metadata", METADATA, headers=" folded\r\n") + END,
    b"--limit\r\n\r\nno headers\r\n" + END,
    b"--limit\r\ncontent-disposition: \xff\xfe; name\r\n\r\nx\r\n" + END,
]
"""Uploads that break off, lie about themselves or are none."""

NO_OBJECTS = [
    b"", b"{", b"null", b"[]", b"1", b'"text"', b'{"a": NaN}', b'{"a": Infinity}', b'{"a": 1e999}',
    b'{"a": "\\ud800"}',
    b'{"a": "\\udc00"}', b"\xff\xfe", b'{"a": "\xed\xa0\x80"}', b'{"a": 1} x', b"{'a': 1}", b"[" * 100_000,
    b'{"a":' * 5000,
    b"\xef\xbb\xbf{}", b'{"a" 1}', b"PK\x03\x04",
]  # fmt: skip
"""Metadata that is no JSON object."""


def bomb() -> bytes:
    """A PNG of a few kilobytes that claims, and holds, 20000 × 20000 one-bit pixels."""
    side = 20_000

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress(bytes(side * (side // 8 + 1)), 9)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
