"""A web server in a thread that breaks off, lies and refuses as a test tells it to."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Fault = tuple[str, int | str]


class Server(ThreadingHTTPServer):
    """Serves `files`; each request for a path uses up the first of its `faults`.

    Faults: ("break", n) ends the connection after n bytes; ("status", n) answers n; ("redirect",
    path); ("html", text); ("chunked", n) tells no length and, unless n is 0, breaks off after n
    bytes; ("piece", n) answers a range with another that begins n bytes later; ("", 0) is none.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.ranges = True  # whether pieces of files can be had
        self.versions = True  # whether there are ETags
        self.asked: list[tuple[str, str]] = []  # path and range of each request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are part of the game."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server, path = self.server, self.path.lstrip("/")
        server.asked.append((path, self.headers.get("Range", "")))
        waiting = server.faults.get(path, [])
        kind, value = waiting.pop(0) if waiting else ("", 0)
        self.close_connection = True
        if kind == "status":
            self.answer(int(value), b"sorry", {"Retry-After": "0"})
        elif kind == "redirect":
            self.answer(302, b"", {"Location": f"/{value}"})
        elif kind == "html":
            self.answer(200, str(value).encode(), {"Content-Type": "text/html; charset=utf-8"})
        elif path not in server.files:
            self.answer(404, b"not here")
        else:
            self.give(server.files[path], kind, int(value))

    def give(self, content: bytes, kind: str, value: int) -> None:
        """A file or a piece of it."""
        version = f'"{hashlib.md5(content).hexdigest()}"'
        head = {"ETag": version} if self.server.versions else {}
        piece = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range", version) == version
        status, total = 200, len(content)
        if piece and same and self.server.ranges and kind != "chunked":
            start = int(piece[1])
            if start >= total:
                self.answer(416, b"", {"Content-Range": f"bytes */{total}"})
                return
            start += value if kind == "piece" else 0
            head["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
            status, content = 206, content[start:]
        if kind == "chunked":
            self.give_chunks(content, head, value)
        else:
            self.answer(status, content, head, value if kind == "break" else len(content))

    def answer(
        self, status: int, content: bytes, head: dict[str, str] | None = None, stop: int = -1
    ) -> None:
        """Announce everything, send what comes before `stop`."""
        self.send_response(status)
        for key, value in (head or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content if stop < 0 else content[:stop])

    def give_chunks(self, content: bytes, head: dict[str, str], stop: int) -> None:
        self.send_response(200)
        for key, value in {**head, "Transfer-Encoding": "chunked"}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(b"%x\r\n" % len(content))
        self.wfile.write(content[: stop or None] + (b"" if stop else b"\r\n0\r\n\r\n"))


@contextlib.contextmanager
def serve() -> Iterator[Server]:
    """A running server."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
