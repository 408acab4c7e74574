"""The server keeps what its `/openapi.json` says."""

from pathlib import Path

import pytest

from serve.attacks.conftest import Attacked
from serve_process import Server
from serve_schema import try_schema

pytestmark = [
    pytest.mark.slow,  # hundreds of requests that schemathesis makes up
    pytest.mark.xdist_group("attacked server"),
]


def test_schemathesis_finds_nothing(server: Server, attacked: Attacked, tmp_path: Path):
    found = try_schema(server, attacked.folder / "clips/0000.mp4", tmp_path, max_examples=4)
    assert not found["wrong"], "\n".join(found["wrong"])
