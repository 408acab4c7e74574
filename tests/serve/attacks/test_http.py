"""Requests that are malformed, endless, slow or tricky: each has one clear answer or a closed connection."""

import asyncio
import gzip

import pytest

from serve.attacks.conftest import LIMIT_MB, Attacked
from serve_http import Answer, NoAnswerError, ask, connected, multipart
from serve_process import Server

pytestmark = pytest.mark.xdist_group("attacked server")
CLOSED = 0
"""Instead of a status: the connection was closed without an answer."""
VIDEO = {"Content-Type": "video/mp4"}


def exchange(server: Server, content: bytes) -> tuple[int, bytes]:
    """Send raw bytes: the status and body of the answer."""

    async def run() -> tuple[int, bytes]:
        async with connected(server.port) as connection:
            try:
                await connection.send(content)
                status, _, body = await connection.answer()
            except (NoAnswerError, OSError):
                return CLOSED, b""
            return status, body

    return asyncio.run(run())


def post(server: Server, content: bytes, route: str = "/v1/predict", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return asyncio.run(ask(server.port, "POST", route, content, headers={**VIDEO, **named}))


def head_of(server: Server, *lines: str, first: str = "POST /v1/predict HTTP/1.1") -> bytes:
    return "\r\n".join([first, f"Host: 127.0.0.1:{server.port}", *lines, "", ""]).encode("latin-1")


MALFORMED = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello of TLS\r\n\r\n",
    "no path": b"GET\r\n\r\n",
    "no version": b"GET / HTTP/one\r\nHost: 127.0.0.1\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no Host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
    "space before colon": b"GET /healthz HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n",
    "NUL in a header": b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: a\0b\r\n\r\n",
    "negative length": b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    "length of words": b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: many\r\n\r\n",
    "two lengths": b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunks":
        b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: video/mp4\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown transfer encoding":
        b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: video/mp4\r\n"
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunk size of words":
        b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: video/mp4\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nmany\r\n",
    "chunk without end":
        b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: video/mp4\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_are_refused(server: Server, name: str):
    status, _ = exchange(server, MALFORMED[name])
    assert status == CLOSED or 400 <= status < 500


@pytest.mark.parametrize("lines", [["X-Long: " + "a" * 2**20], [f"X-{number}: a" for number in range(50_000)]])
def test_huge_heads_are_refused(server: Server, lines: list[str]):
    status, _ = exchange(server, head_of(server, *lines, first="GET /healthz HTTP/1.1"))
    assert status in (CLOSED, 400, 431)


def test_long_path_is_refused(server: Server):
    status, _ = exchange(server, head_of(server, first=f"GET /{'a' * 2**20} HTTP/1.1"))
    assert status in (CLOSED, 400, 414, 404)


FOREIGN_HOSTS = (
    "evil.example",
    "127.0.0.1.evil.example",
    "evil.example:80",
    "127.0.0.1@evil.example",
    "0.0.0.0",
    "[::ffff:7f00:1]",
)


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_foreign_host_is_refused(server: Server, attacked: Attacked, host: str):
    answer = post(server, attacked.clips.contents[0], Host=host)
    assert answer.status == 403
    assert answer.is_problem


def test_pipelined_requests_are_answered_in_order(server: Server, attacked: Attacked):
    async def run() -> list[int]:
        async with connected(server.port) as connection:
            requests = [
                head_of(server, "Content-Type: video/mp4", f"Content-Length: {len(content)}",
                        first="POST /v1/predict?top_k=1000 HTTP/1.1") + content
                for content in attacked.clips.contents
            ]  # fmt: skip
            await connection.send(b"".join(requests))
            return [attacked.clips.number_of(_answered(await connection.answer())) for _ in requests]

    assert asyncio.run(run()) == list(range(len(attacked.clips.contents)))


def _answered(answer: tuple[int, dict[str, str], bytes]) -> dict:
    return Answer(status=answer[0], headers=answer[1], body=answer[2], seconds=0, sent_bytes=0).json()


def test_body_of_a_refused_request_is_not_read_as_the_next_request(server: Server):
    smuggled = head_of(server, first="GET /v1/model HTTP/1.1")
    content = head_of(server, "Content-Type: text/plain", f"Content-Length: {len(smuggled)}") + smuggled

    async def run() -> list[int]:
        statuses = []
        async with connected(server.port) as connection:
            await connection.send(content)
            while True:
                try:
                    statuses.append((await connection.answer())[0])
                except (NoAnswerError, OSError):
                    return statuses

    assert asyncio.run(run()) == [415]


PATH_TRICKS = (
    "/static/../../run.py", "/static/%2e%2e/run.py", "/static/..%2f..%2frun.py", "/static/%00", "/static//etc/passwd",
    "//etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/static/..\\..\\run.py", "/v1/jobs/../../etc/passwd",
    "/v1/jobs/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/v1/jobs/" + "a" * 10_000,
)  # fmt: skip


@pytest.mark.parametrize("path", PATH_TRICKS)
def test_path_tricks_lead_nowhere(server: Server, path: str):
    status, body = exchange(server, head_of(server, first=f"GET {path} HTTP/1.1"))
    assert status in (400, 404, 405)
    assert b"root:" not in body


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../../../tmp/owned.mp4", "owned.mp4"),
        ("..\\..\\owned.mp4", "owned.mp4"),
        ("/etc/passwd", "passwd"),
        ("a\0b.mp4", "ab.mp4"),
        ("a\x1b[31m.mp4", "a[31m.mp4"),
        ("a" * 1000, "a" * 255),
        ("", ""),
        ("...", "..."),
    ],
)
def test_file_name_of_a_form_is_only_a_name(server: Server, attacked: Attacked, name: str, shown: str):
    body, headers = multipart(name, attacked.clips.contents[1])
    answer = asyncio.run(ask(server.port, "POST", "/v1/predict?top_k=1000", body, headers=headers))
    assert answer.status == 200, answer.body
    assert answer.json()["path"] == shown
    assert attacked.clips.number_of(answer.json()) == 1


def test_endless_file_name_of_a_form_is_refused(server: Server, attacked: Attacked):
    body, headers = multipart("a" * 10_000, attacked.clips.contents[1])
    answer = asyncio.run(ask(server.port, "POST", "/v1/predict", body, headers=headers))
    assert answer.status == 400
    assert answer.is_problem


def form(*parts: tuple[str, bytes], boundary: str = "b") -> bytes:
    """A multipart body of parts with their headers."""
    return b"".join(
        f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n" for head, content in parts
    ) + f"--{boundary}--\r\n".encode()  # fmt: skip


FILE = 'Content-Disposition: form-data; name="file"; filename="a.mp4"'
FORMS = {
    "two files": form((FILE, b"a"), (FILE, b"b")),
    "other field": form(('Content-Disposition: form-data; name="video"; filename="a.mp4"', b"a")),
    "no name": form(("Content-Disposition: form-data", b"a")),
    "no disposition": form(("X-A: b", b"a")),
    "10 000 parts": form(*[(f'Content-Disposition: form-data; name="f{n}"', b"a") for n in range(10_000)]),
    "10 000 empty files": form(*[(FILE, b"")] * 10_000),
    "nothing": b"--b--\r\n",
    "cut off": form((FILE, b"a" * 1000))[:500],
    "no boundary inside": b"hello",
    "form in a form": form((FILE + "\r\nContent-Type: multipart/mixed; boundary=c", b"--c--")),
    "huge head of a part": form((FILE + "\r\nX-A: " + "a" * 10**6, b"a")),
    "many heads of a part": form((FILE + "".join(f"\r\nX-{n}: a" for n in range(50_000)), b"a")),
    "text in the field": form((FILE + "\r\nContent-Type: text/plain", b"a")),
}


@pytest.mark.parametrize("name", FORMS)
def test_odd_forms_are_refused(server: Server, name: str):
    answer = post(server, FORMS[name], Content_Type="multipart/form-data; boundary=b")
    assert answer.status in (400, 413, 415)
    assert answer.is_problem


@pytest.mark.parametrize("kind", [
    "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "b" * 10_000,
    "multipart/mixed; boundary=b", "text/plain", "application/json; charset=utf-16", "video", "/", ";", "\xff",
])  # fmt: skip
def test_odd_types_are_refused(server: Server, attacked: Attacked, kind: str):
    answer = post(server, attacked.clips.contents[0], Content_Type=kind)
    assert answer.status in (400, 415)
    assert answer.is_problem


def test_odd_charset_of_a_video_means_nothing(server: Server, attacked: Attacked):
    assert post(server, attacked.clips.contents[0], Content_Type="video/mp4; charset=klingon").status == 200


@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, gzip", "zstd", "x"])
def test_compressed_bodies_are_refused_and_not_unpacked(server: Server, encoding: str):
    bomb = gzip.compress(bytes(LIMIT_MB * 10**6 * 100))
    answer = post(server, bomb, Content_Encoding=encoding)
    assert answer.status == 415
    assert answer.is_problem


def test_identity_encoding_is_no_encoding(server: Server, attacked: Attacked):
    assert post(server, attacked.clips.contents[0], Content_Encoding="identity").status == 200


ODD_QUERIES = ("top_k=0", "top_k=-1", "top_k=1e3", "top_k=nan", "top_k=" + "9" * 5000, "top_k=%00", "top_k=")


@pytest.mark.parametrize("query", ODD_QUERIES)
def test_odd_queries_are_refused(server: Server, attacked: Attacked, query: str):
    answer = post(server, attacked.clips.contents[0], f"/v1/predict?{query}")
    assert answer.status == 422
    assert answer.is_problem


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "OPTIONS", "X"])
def test_other_methods_are_refused(server: Server, method: str):
    answer = asyncio.run(ask(server.port, method, "/v1/predict"))
    assert answer.status == 405
    assert answer.is_problem


def test_head_of_an_answer_has_no_body(server: Server):
    answer = asyncio.run(ask(server.port, "HEAD", "/healthz"))
    assert answer.status in (200, 405)


def test_upgrade_to_websocket_is_refused(server: Server):
    lines = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
             "Sec-WebSocket-Version: 13")  # fmt: skip
    status, _ = exchange(server, head_of(server, *lines, first="GET /v1/predict HTTP/1.1"))
    assert status in (400, 404, 405, 426)
