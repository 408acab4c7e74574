"""`timesformer serve` before it serves: what it refuses."""

import socket
import sys

import pytest


def test_an_address_of_the_network_needs_a_token(run, model_folder):
    status, out, err = run("serve", "--model", model_folder, "--host", "0.0.0.0")
    assert (status, out) == (2, "")
    assert err == (
        "error: --host 0.0.0.0: others can reach this address; name a --token-file, or pass --insecure if all of them "
        "may use the server\n"
    )


@pytest.mark.parametrize(
    "content", [b"", b"short", b"two words in the token", b"\xff" * 20, "täuschend-langes-token".encode()]
)
def test_a_token_that_cannot_be_one_is_refused(run, model_folder, tmp_path, content):
    (tmp_path / "token").write_bytes(content)
    status, _, err = run("serve", "--model", model_folder, "--token-file", tmp_path / "token")
    assert status == 2
    assert err.startswith(f"error: --token-file {tmp_path / 'token'}: ")
    assert "is not UTF-8" in err or "must hold a token of at least 16 printable ASCII characters" in err


def test_a_token_file_that_does_not_exist_is_refused(run, model_folder, tmp_path):
    status, _, err = run("serve", "--model", model_folder, "--token-file", tmp_path / "no")
    assert (status, err) == (2, f"error: --token-file {tmp_path / 'no'}: No such file or directory\n")


def test_a_port_in_use_is_refused(run, model_folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, _, err = run("serve", "--model", model_folder, "--port", port)
    assert status == 2
    assert err == f"error: host='127.0.0.1', port={port}: cannot listen there: Address already in use\n"


def test_a_limit_out_of_range_is_refused(run, model_folder):
    status, _, err = run("serve", "--model", model_folder, "--max-batch", "0")
    assert status == 2
    assert "max_batch=0 must be at least 1" in err


def test_a_model_that_does_not_exist_is_refused(run):
    status, _, err = run("serve", "--model", "no/such/model", "--port", "0")
    assert status == 1
    assert err.startswith("error: no/such/model")


def test_a_missing_extra_is_named(run, model_folder, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("timesformer.serve.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    status, _, err = run("serve", "--model", model_folder)
    assert (status, err) == (
        1,
        "error: serve needs uvicorn, which is not installed: pip install 'timesformer[serve]'\n",
    )


def test_help_names_the_limits_with_their_units(run):
    status, out, _ = run("serve", "--help")
    assert status == 0
    for option in ("--max-upload-mb", "--max-seconds", "--max-pixels", "--max-frames", "--max-batch", "--max-wait-ms",
                   "--queue", "--max-slowdown", "--decoders", "--long-seconds", "--request-seconds"):  # fmt: skip
        assert option in out
