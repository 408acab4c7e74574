"""Who may call the server."""

import pytest

from timesformer.serve.problems import ProblemError
from timesformer.serve.security import Access, host_name, is_loopback

TOKEN = "correct-horse-battery"


def check(access: Access, path: str = "/v1/predict", **headers: str) -> None:
    access.check(path, [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()])


def refused(status: int, message: str):
    return pytest.raises(ProblemError, match=message, check=lambda problem: problem.status == status)


def test_the_right_token_is_let_in():
    check(Access(token=TOKEN), authorization=f"Bearer {TOKEN}")
    check(Access(token=TOKEN), authorization=f"bearer  {TOKEN} ")


@pytest.mark.parametrize(
    "value", ["Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer", "Bearer \xff\xfe"]
)
def test_a_wrong_token_is_401(value):
    with refused(401, "the token is wrong"):
        check(Access(token=TOKEN), authorization=value)


def test_no_token_is_401_and_says_what_is_needed():
    with refused(401, "this server needs a token") as caught:
        check(Access(token=TOKEN))
    assert caught.value.headers == {"WWW-Authenticate": "Bearer"}


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"])
def test_the_page_and_probes_need_no_token(path):
    check(Access(token=TOKEN), path)


@pytest.mark.parametrize(
    "path", ["/metrics", "/openapi.json", "/v1/model", "/v2", "/v2/models/m", "/static", "//healthz"]
)
def test_everything_else_does(path):
    with refused(401, "needs a token"):
        check(Access(token=TOKEN), path)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:80", "[::1]:8000"])
def test_names_of_this_machine_are_let_in(host):
    check(Access(hosts=("127.0.0.1", "localhost", "[::1]")), host=host)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "", "127.0.0.1.evil.example", "[::1].evil"])
def test_other_names_are_403(host):
    with refused(403, "the Host header is not a name of this server"):
        check(Access(hosts=("127.0.0.1", "localhost", "[::1]")), "/", host=host)


def test_pages_of_other_sites_are_403():
    with refused(403, "requests of other web sites"):
        check(Access(), sec_fetch_site="cross-site")
    check(Access(), sec_fetch_site="same-origin")
    check(Access(), "/", sec_fetch_site="cross-site")  # a link to the page


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("a:1", "a"),
        ("[::1]:1", "[::1]"),
        ("[::1]", "[::1]"),
        ("A", "a"),
        ("", ""),
        ("[::1]x:1", "[::1]x:1"),
        ("a:b", "a:b"),
        ("::1", "::1"),
    ],
)
def test_the_name_in_a_host_header(header, name):
    assert host_name(header) == name


@pytest.mark.parametrize(
    ("host", "is_it"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.1.2", False), ("example.org", False)],
)  # fmt: skip
def test_addresses_of_this_machine(host, is_it):
    assert is_loopback(host) is is_it
