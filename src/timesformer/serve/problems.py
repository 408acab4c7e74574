"""Errors of the HTTP API: `application/problem+json` with a field `fix`.

Source: RFC 9457, "Problem Details for HTTP APIs".
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"


class ProblemError(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        detail: What is wrong with this request.
        fix: What the client can do about it.
        headers: Further headers of the answer.
    """

    def __init__(
        self, status: int, detail: str, *, fix: str, headers: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.fix = fix
        self.headers = headers

    def to_dict(self) -> dict[str, Any]:
        """The members of the answer."""
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "fix": self.fix,
        }

    def response(self) -> Response:
        """The answer."""
        content = json.dumps(self.to_dict(), allow_nan=False)
        return Response(content, status_code=self.status, headers=dict(self.headers), media_type=MEDIA_TYPE)


def busy(detail: str, *, retry_after_s: int = 1) -> ProblemError:
    """Status 503: the request may be repeated later."""
    fix = f"send the request again after {retry_after_s} s"
    return ProblemError(503, detail, fix=fix, headers={"Retry-After": str(retry_after_s)})
