"""A headless Chromium and a static host, for what is tested as a reader's browser shows it."""

import functools
import http.server
import os
import shutil
import threading

import pytest


# Of a module: while Playwright's loop runs, nothing else in the process can start one.
@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as engine:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        started = engine.chromium.launch(executable_path=chromium, args=options)
        yield started
        started.close()


class Handler(http.server.SimpleHTTPRequestHandler):
    """Sends files as they are; `server.encodes` makes it say of .gz files that they are encoded, as some hosts do."""

    def end_headers(self):
        if self.server.encodes and self.path.endswith(".gz"):
            self.send_header("Content-Encoding", "gzip")
        super().end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def serve():
    """A function that serves a folder, and returns the server with its `address`."""
    servers = []

    def start(folder):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
        server.encodes, server.address = False, f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
