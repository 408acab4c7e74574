"""Who may talk to the server: a token, the `Host` header, requests of other web pages, and headers of every answer."""

import hmac
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from timesformer.serve.problems import ProblemError

SECURITY_HEADERS = (
    (b"content-security-policy",
     b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
     b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
)  # fmt: skip
_OPEN_PATHS = ("/", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")
"""Paths that need no token: the page, which asks for it, and probes."""
_OPEN_PREFIX = "/static/"


@dataclass(frozen=True, slots=True)
class Access:
    """What a request needs."""

    token: str = ""
    """Bearer token; empty if none is needed."""
    hosts: tuple[str, ...] = ()
    """Names of the server that a `Host` header may have; empty if any may."""

    def check(self, path: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Refuse a request.

        Raises:
            ProblemError: A wrong token (401), a foreign host (403) or the page of another site (403).
        """
        found = dict(headers)
        self._check_host(found.get(b"host", b"").decode("latin-1"))
        if found.get(b"sec-fetch-site") == b"cross-site" and path not in _OPEN_PATHS:
            raise ProblemError(403, "requests of other web sites are refused", fix="open the page of this server")
        if self.token and path not in _OPEN_PATHS and not path.startswith(_OPEN_PREFIX):
            self._check_token(found.get(b"authorization", b""))

    def _check_host(self, host: str) -> None:
        if self.hosts and host_name(host) not in self.hosts:
            names = " or ".join(self.hosts)
            raise ProblemError(403, "the Host header is not a name of this server", fix=f"call the server as {names}")

    def _check_token(self, given: bytes) -> None:
        scheme, _, token = given.partition(b" ")
        is_right = hmac.compare_digest(token.strip(), self.token.encode())
        if scheme.lower() != b"bearer" or not is_right:
            detail = "the token is wrong" if given else "this server needs a token"
            raise ProblemError(
                401,
                detail,
                fix="send the header Authorization: Bearer TOKEN with the token of the server",
                headers={"WWW-Authenticate": "Bearer"},
            )


def host_name(header: str) -> str:
    """The name in a `Host` header, without port and in lower case."""
    name = header[: header.find("]") + 1] if header.startswith("[") else header.partition(":")[0]
    return name.lower()


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
