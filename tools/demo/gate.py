"""The demo's own /readyz: the replay clock waits until the accounts are open, and while the demo is busy."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Gate:
    """Closed until opened; served on a free port of 127.0.0.1."""

    def __init__(self) -> None:
        self._why = "accounts are being opened"
        gate = self

        class Handler(BaseHTTPRequestHandler):
            """Answers every path alike."""

            def do_GET(self) -> None:
                """200 when open, 503 with the reason when closed."""
                why = gate._why
                body = json.dumps({"ready": not why, "unmet": [{"condition": "demo", "detail": why}]}).encode()
                self.send_response(503 if why else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """A probe logs nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._server.server_port}/readyz"

    def open(self) -> None:
        """Lets the clock run."""
        self._why = ""

    def close(self, why: str) -> None:
        """Holds the clock."""
        self._why = why

    def stop(self) -> None:
        """Ends the server."""
        self._server.shutdown()
        self._server.server_close()
