"""A web server of files that the steps of lazy content fetch from: good, late, wrong or silent, as it is told."""

import hashlib
import http.server
import os
import re
import threading
import time
from pathlib import Path

LISTING = "PULP_MANIFEST"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with a file below the origin's directory, or in the way of the origin's fault."""

    protocol_version = "HTTP/1.1"
    # Without it the answer's second segment waits for the acknowledgement of the first.
    disable_nagle_algorithm = True

    @property
    def origin(self):
        assert isinstance(self.server, Listener)
        return self.server.origin

    def do_GET(self):
        origin = self.origin
        listing = self.path.endswith(LISTING)
        fault = None if listing else origin.fault
        time.sleep(0 if listing else origin.delay)
        if fault == "silent":
            origin.ended.wait()
            self.close_connection = True
            return
        try:
            size = os.stat(origin.directory / self.path[1:]).st_size
        except FileNotFoundError:
            size = None
        if size is None or fault == "missing":
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = 0
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if found and int(found[1]) < size:
            start = int(found[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        self.send_body(start, size, fault)

    def send_body(self, start, size, fault):
        if fault == "corrupt":
            self.wfile.write(bytes(size - start))
            return
        with open(self.origin.directory / self.path[1:], "rb") as file:
            if fault == "cut":
                file.seek(start)
                self.wfile.write(file.read((size - start) // 2))
                self.close_connection = True
                return
            self.wfile.flush()
            while start < size:
                start += os.sendfile(self.connection.fileno(), file.fileno(), start, size - start)

    def log_message(self, format, *words):
        """Says nothing."""


class Listener(http.server.ThreadingHTTPServer):
    """A server whose threads end with the process."""

    daemon_threads = True
    # Many readers come at once.
    request_queue_size = 1024

    def __init__(self, origin):
        super().__init__(("127.0.0.1", 0), Handler)
        self.origin = origin

    def handle_error(self, request, client_address):
        """Who fetches may go away, and that is no matter."""


class Origin:
    """Serves a directory on loopback until it is closed."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.delay, self.fault = 0.0, None
        self.ended = threading.Event()
        self.listener = Listener(self)
        self.url = f"http://127.0.0.1:{self.listener.server_address[1]}/"
        threading.Thread(target=self.listener.serve_forever, daemon=True).start()

    def list(self):
        """Writes the listing of all files that are there."""
        lines = []
        for path in sorted(self.directory.rglob("*")):
            if path.is_file() and path.name != LISTING:
                with open(path, "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                lines.append(f"{path.relative_to(self.directory)},{digest},{path.stat().st_size}\n")
        (self.directory / LISTING).write_text("".join(lines))

    def close(self):
        self.ended.set()
        self.listener.shutdown()
        self.listener.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
