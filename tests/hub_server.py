"""A hub on this machine: what huggingface_hub asks of the real one, answered from folders.

Repositories are folders under `owner/name`. What the real hub does at its worst can be asked for:
gated, disabled, slow, cut off in the middle of a file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CHUNK = 4096


@dataclass
class Hub:
    """What the server offers, and what it was asked."""

    folders: dict[str, Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    disabled: set[str] = field(default_factory=set)
    seconds_per_chunk: float = 0.0
    cut_after: int | None = None
    """Bytes of a weights file after which the connection is closed."""
    cuts: int = 10**9
    """How many more times it is cut."""
    asked: list[str] = field(default_factory=list)
    short_by: int = 0
    """Bytes that are missing at the end of every weights file that is sent whole."""
    sent: int = 0
    """Bytes of files."""
    url: str = ""


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve `hub` on a free port of this machine; its `url` is filled in."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Say nothing on stderr."""

    def do_GET(self) -> None:
        """Answer one request."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Answer one request without its body."""
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        if path.startswith("/api/models/"):
            self._answer_api(path.removeprefix("/api/models/").split("/"), body)
            return
        if path.count("/") < 5:
            self._refuse(404, "EntryNotFound", "No such thing here", body)
            return
        owner, name, _, revision, *rest = path.lstrip("/").split("/")
        folder = self._folder(f"{owner}/{name}", body, revision, gate=True)
        if folder is not None:
            self._send_file(folder / "/".join(rest), body)

    def _answer_api(self, parts: list[str], body: bool) -> None:
        owner, name, *rest = parts
        revision = rest[1] if len(rest) > 1 else "main"
        folder = self._folder(f"{owner}/{name}", body, revision, gate=False)
        if folder is None:
            return
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if rest[:1] == ["tree"]:
            self._send_json(
                [
                    {
                        "type": "file",
                        "path": str(path.relative_to(folder)),
                        "size": path.stat().st_size,
                        "oid": hashlib.sha1(path.read_bytes()).hexdigest(),
                    }
                    for path in files
                ],
                body,
            )
            return
        siblings = [{"rfilename": str(path.relative_to(folder))} for path in files]
        self._send_json({"id": f"{owner}/{name}", "sha": COMMIT, "siblings": siblings}, body)

    def _folder(self, repo: str, body: bool, revision: str, gate: bool) -> Path | None:
        if repo not in self.hub.folders:
            self._refuse(404, "RepoNotFound", "Repository not found", body)
            return None
        if revision not in ("main", COMMIT):
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}", body)
            return None
        if repo in self.hub.disabled:
            self._refuse(403, "", "Access to this resource is disabled.", body)
            return None
        if gate and repo in self.hub.gated:
            self._refuse(403, "GatedRepo", f"Access to model {repo} is restricted", body)
            return None
        return self.hub.folders[repo]

    def _refuse(self, status: int, code: str, message: str, body: bool) -> None:
        content = json.dumps({"error": message}).encode()
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _send_json(self, value: Any, body: bool) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _send_file(self, path: Path, body: bool) -> None:
        if not path.is_file():
            self._refuse(404, "EntryNotFound", "Entry not found", body)
            return
        content = path.read_bytes()
        if body and path.suffix in (".safetensors", ".bin"):
            content = content[: len(content) - self.hub.short_by]
        start = 0
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes="):
            start = int(asked.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if body:
            self._send_slowly(content, start, path.suffix in (".safetensors", ".bin"))

    def _send_slowly(self, content: bytes, start: int, weights: bool) -> None:
        hub = self.hub
        cut = hub.cut_after if weights and hub.cuts > 0 else None
        for place in range(start, len(content), CHUNK):
            if cut is not None and place - start >= cut:
                hub.cuts -= 1
                self.close_connection = True
                return
            if weights and hub.seconds_per_chunk:
                time.sleep(hub.seconds_per_chunk)
            part = content[place : place + CHUNK]
            try:
                self.wfile.write(part)
            except OSError:  # whoever asked has gone
                self.close_connection = True
                return
            hub.sent += len(part)
