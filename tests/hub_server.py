"""A stand-in for the Hugging Face hub on the loopback address: repositories with revisions, kept in memory.

Models can be loaded from it and, with its token, pushed to it.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO
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

    def commit_to(self, files: Mapping[str, bytes], branch: str, *, number: int) -> str:
        """Add a commit, which one branch points to from now on; gives its hash."""
        digest = hashlib.sha1(repr((number, branch, sorted(files.items()))).encode()).hexdigest()
        self.commits[digest] = dict(files)
        self.names[branch] = digest
        return digest

    def resolve(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.names.get(revision)


@dataclass
class Hub:
    """The address, the repositories and the requests so far, as `GET /path`."""

    url: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    token: str = "hf_writer"
    """What may write, to all owners but `locked`."""
    objects: dict[str, bytes] = field(default_factory=dict)
    """Large files that were uploaded, by their SHA-256."""
    private: set[str] = field(default_factory=set)
    messages: list[str] = field(default_factory=list)
    """First lines of the commits."""


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
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = self._begin()
            if parts[4:5] == ["paths-info"]:
                return self._describe("/".join(parts[2:4]), parts[4:], wanted=parse_qs(body.decode())["paths"])
            if self.headers.get("Authorization") != f"Bearer {hub.token}":
                return self._send(401, b'{"error": "Invalid username or password."}')
            status, answer = receive(hub, parts, body)
            return self._send(status, json.dumps(answer).encode())

        def do_PUT(self) -> None:
            length = self.headers.get("Content-Length")
            body = self.rfile.read(int(length)) if length else read_chunked(self.rfile)
            digest = self._begin()[1]
            if hashlib.sha256(body).hexdigest() != digest:
                return self._send(400, b"{}")
            hub.objects[digest] = body
            return self._send(200, b"{}")

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


def receive(hub: Hub, parts: list[str], body: bytes) -> tuple[int, dict]:
    """Answer a request that writes: status and JSON."""
    match parts:
        case ["api", "validate-yaml"]:
            return 200, {"warnings": [], "errors": []}
        case ["api", "repos", "create"]:
            return _create(hub, json.loads(body))
        case ["api", "models", owner, name, "branch", branch]:
            repository = hub.repositories[f"{owner}/{name}"]
            is_new = branch not in repository.names
            repository.names.setdefault(branch, repository.names["main"])
            return (200, {}) if is_new else (409, {"error": "exists"})
        case ["api", "models", _, _, "preupload", _]:
            names = [each["path"] for each in json.loads(body)["files"]]
            modes = {True: "lfs", False: "regular"}
            files = [{"path": name, "uploadMode": modes[name.endswith(LARGE)], "shouldIgnore": False} for name in names]
            return 200, {"files": files}
        case [_, _, "info", "lfs", "objects", "batch"]:
            return 200, {
                "transfer": "basic",
                "objects": [_upload_of(hub, each) for each in json.loads(body)["objects"]],
            }
        case ["api", "models", owner, name, "commit", branch]:
            return _commit(hub, f"{owner}/{name}", branch, [json.loads(line) for line in body.splitlines()])
    return 404, {"error": "unknown"}


def _create(hub: Hub, wanted: dict) -> tuple[int, dict]:
    name = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
    if name.startswith("locked/"):
        return 403, {"error": 'You don\'t have the rights to create a model under the namespace "locked".'}
    if name in hub.repositories:
        return 409, {"error": "You already created this model repo", "url": f"{hub.url}/{name}"}
    hub.repositories[name] = Repository()
    hub.repositories[name].commit_to({".gitattributes": b"*.safetensors filter=lfs"}, "main", number=0)
    if wanted.get("visibility") == "private" or wanted.get("private"):
        hub.private.add(name)
    return 200, {"url": f"{hub.url}/{name}"}


def _upload_of(hub: Hub, wanted: dict) -> dict:
    if wanted["oid"] in hub.objects:
        return wanted
    return {**wanted, "actions": {"upload": {"href": f"{hub.url}/objects/{wanted['oid']}"}}}


def _commit(hub: Hub, name: str, branch: str, operations: list[dict]) -> tuple[int, dict]:
    repository = hub.repositories[name]
    files = dict(repository.commits[repository.resolve(branch) or ""])
    for operation in operations:
        key, value = operation["key"], operation["value"]
        if key == "header":
            hub.messages.append(value["summary"])
        elif key == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif key == "lfsFile":
            files[value["path"]] = hub.objects[value["oid"]]
        elif key == "deletedFile":
            del files[value["path"]]
    digest = repository.commit_to(files, branch, number=len(hub.messages))
    return 200, {"commitUrl": f"{hub.url}/{name}/commit/{digest}", "commitOid": digest}


def read_chunked(stream: BinaryIO) -> bytes:
    """A body that is sent in chunks."""
    body = b""
    while size := int(stream.readline().split(b";")[0], 16):
        body += stream.read(size)
        stream.readline()
    stream.readline()
    return body


def _entry(name: str, content: bytes) -> dict:
    entry = {"type": "file", "path": name, "size": len(content), "oid": git_hash(content)}
    if name.endswith(LARGE):
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": digest, "sha256": digest, "size": len(content), "pointerSize": 134}
    return entry
