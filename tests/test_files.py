from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.config.info import ModelInfo
from timesformer.config.run import DataConfig, RunConfig
from timesformer.errors import ConfigError
from timesformer.files import is_address, is_utf8, printable, replacing, without_secrets

ADDRESSES = (
    "https://x.org/a.mp4",
    "HTTP://x.org/a.mp4",
    "s3://bucket/videos",
    "gs://bucket/a.mp4",
    "rtsp://camera:554/live",
    "file:///videos/a.mp4",
    "hdfs://host/list.csv",
    "www.youtube.com/watch?v=3",
    "youtu.be/3",
    "www.x.org",
)


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address_is_one_as_text_and_as_a_path_in_a_folder(text):
    assert is_address(text)
    assert is_address(Path(text))
    if ":/" in text:
        assert is_address(Path("/videos") / text)


@pytest.mark.parametrize(
    "text", ["", "a.mp4", "https/a.mp4", "C:/a.mp4", "C:\\a.mp4", "http:a", "www/a", "a: b/c", "x\0y"]
)
def test_a_path_is_no_address(text):
    assert not is_address(text)


def test_what_is_there_is_no_address(tmp_path, monkeypatch):
    (tmp_path / "https:/x.org").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert not is_address("https:/x.org")
    assert is_address("https:/y.org")


@given(st.binary(max_size=20))
def test_any_name_can_be_printed(name):
    text = name.decode("utf-8", "surrogateescape")
    assert is_utf8(printable(text))
    assert (printable(text) == text) == is_utf8(text)


def test_bytes_are_shown_as_escapes():
    assert printable("caf\udce9") == r"caf\xe9"
    assert printable("caf\ud83d") == r"caf\ud83d"


@pytest.mark.parametrize("name", ["train", "val"])
def test_data_whose_name_the_file_of_a_run_cannot_hold_is_refused(name):
    with pytest.raises(ConfigError, match=rf"{name}='caf\\xe9' is not UTF-8, which run files require: rename it first"):
        DataConfig(**{name: "caf\udce9"})


@pytest.mark.parametrize("name", ["init_from", "output"])
def test_a_path_that_the_file_of_a_run_cannot_hold_is_refused(name):
    with pytest.raises(ConfigError, match=rf"{name}='caf\\xe9' is not UTF-8"):
        RunConfig(**{name: "caf\udce9"})


def test_a_label_that_no_file_can_hold_is_refused():
    with pytest.raises(ConfigError, match=r"label 1 is 'caf\\xe9', which is not UTF-8"):
        ModelInfo(labels=("wave", "caf\udce9"))


def test_a_full_disk_is_told_with_the_file(tmp_path):
    path = tmp_path / "table.csv"
    with pytest.raises(OSError, match="table"), replacing(path):
        Path("/dev/full").write_text("a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("rtsp://cam/1", "rtsp://cam/1"),
        ("rtsp://admin:s3cret@cam:554/1?channel=2", "rtsp://cam:554/1?channel=2"),
        ("rtsp://admin:s3@cret@cam/1", "rtsp://cam/1"),
        ("rtsp://admin:s3/cret?x#@cam:554/1?a=b", "rtsp://cam:554/1?a=b"),
        ("rtsp://s3cret@cam", "rtsp://cam"),
        ("http://cam:8080/a@b", "http://cam:8080/a@b"),
        ("https://cam/live?token=s3cret&channel=2", "https://cam/live?token=***&channel=2"),
        ("https://cam/live?Access_Key=s3cret;x=1#auth=s3cret", "https://cam/live?Access_Key=***;x=1#auth=***"),
        ("srt://cam:9000?mode=caller&passphrase=s3cret", "srt://cam:9000?mode=caller&passphrase=***"),
        ("rtsp://cam:554/user=admin_password=s3cret_channel=1.sdp", "rtsp://cam:554/user=***"),
        ("rtsp:/admin:s3cret@cam/1", "rtsp:/cam/1"),
        ("two: rtsp://a:s3cret@b/1, http://c:s3cret@d/2: refused", "two: rtsp://b/1, http://d/2: refused"),
        ("rtsp://cam/1?token=s3cret: Connection refused", "rtsp://cam/1?token=***: Connection refused"),
        ("rtsp://cam/1?token=s3:cret:", "rtsp://cam/1?token=***:"),
        ("day.mp4 at 12:30, me@home", "day.mp4 at 12:30, me@home"),
    ],
)
def test_addresses_are_shown_without_secrets(address, public):
    assert without_secrets(address) == public
    assert "s3cret" not in public
