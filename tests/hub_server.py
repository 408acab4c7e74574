"""A stand-in for the Hugging Face hub on the loopback address: repositories with revisions, served from memory."""

import hashlib
import json
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".bin")
"""Files that the hub keeps in LFS and describes by their SHA-256; the others by git's hash of a blob."""


def git_hash(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def hub_hash(name: str, content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if name.endswith(LARGE) else git_hash(content)


@dataclass
class Repository:
    """Files of each commit, and branches and tags that name a commit."""

    commits: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    tampered: dict[str, bytes] = field(default_factory=dict)
    """Contents that are sent instead of those that the hub describes."""

    def commit(self, files: Mapping[str, bytes], *names: str) -> str:
        """Add a commit, which `main` and other names point to from now on; gives its hash."""
        digest = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[digest] = dict(files)
        self.names |= dict.fromkeys(("main", *names), digest)
        return digest

    def resolve(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.names.get(revision)


@dataclass
class Hub:
    """The address, the repositories and the requests so far, as `GET /path`."""

    url: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)


@contextmanager
def serve_hub() -> Generator[Hub]:
    """Run a hub on a free port of the loopback address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            wanted = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())["paths"]
            parts = self._begin()
            assert parts[4] == "paths-info"
            self._describe("/".join(parts[2:4]), parts[4:], wanted=wanted)

        def log_message(self, *_: object) -> None:
            pass

        def _begin(self) -> list[str]:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            return path.strip("/").split("/")

        def _answer(self) -> None:
            parts = self._begin()
            if parts[:2] == ["api", "models"]:
                self._describe("/".join(parts[2:4]), parts[4:])
            elif parts[2:3] == ["resolve"]:
                self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
            else:
                self._send(404, b"")

        def _describe(self, name: str, rest: list[str], *, wanted: list[str] | None = None) -> None:
            repository = hub.repositories.get(name)
            if repository is None:
                return self._send(401, b"{}", {"X-Error-Code": "RepoNotFound"})
            commit = repository.resolve("/".join(rest[1:]) or "main")
            if commit is None:
                return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            files = repository.commits[commit]
            described = [_entry(name, files[name]) for name in files if wanted is None or name in wanted]
            if rest[:1] in (["tree"], ["paths-info"]):
                return self._send(200, json.dumps(described).encode())
            siblings = [{"rfilename": entry["path"]} for entry in described]
            return self._send(200, json.dumps({"id": name, "sha": commit, "siblings": siblings}).encode())

        def _file(self, name: str, revision: str, file: str) -> None:
            repository = hub.repositories[name]
            commit = repository.resolve(revision)
            content = repository.commits[commit or ""].get(file)
            if content is None:
                return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            digest = hub_hash(file, content)
            return self._send(
                200,
                repository.tampered.get(file, content),
                {"X-Repo-Commit": commit or "", "ETag": f'"{digest}"', "X-Linked-Etag": f'"{digest}"'},
            )

        def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _entry(name: str, content: bytes) -> dict:
    entry = {"type": "file", "path": name, "size": len(content), "oid": git_hash(content)}
    if name.endswith(LARGE):
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": digest, "sha256": digest, "size": len(content), "pointerSize": 134}
    return entry
