"""Bodies written to a file while they arrive, in chunks of any size."""

import asyncio
import errno
import os
import stat
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from timesformer.serve.problems import ProblemError
from timesformer.serve.uploads import JSON, VIDEO, base_name, received

BOUNDARY = "x7Yb"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def form(content: bytes, *, name: str = "file", filename: str = "a.mp4", kind: str = "video/mp4") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
    return f"{head}Content-Type: {kind}\r\n\r\n".encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def receive(
    folder: Path, chunks: Sequence[bytes], *, kind: str = FORM, max_bytes: int = 1000, disposition: str = ""
) -> tuple[str, bytes]:
    """Name and content of the received file, which is gone afterwards."""

    async def body():
        for chunk in chunks:
            yield chunk

    async def main() -> tuple[str, bytes]:
        headers = {"content-type": kind, "content-disposition": disposition}
        async with received(body(), folder, headers=headers, max_bytes=max_bytes) as upload:
            content = upload.path.read_bytes()
            assert upload.size == len(content)
            if os.name == "posix":
                assert stat.S_IMODE(upload.path.stat().st_mode) == 0o600
            return upload.name, content

    try:
        return asyncio.run(main())
    finally:
        assert not list(folder.iterdir())


def split(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(edges)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(min_size=1, max_size=200), cuts=st.lists(st.integers(0, 10**6), max_size=12))
def test_a_form_gives_its_file_however_it_is_split(tmp_path, content, cuts):
    assert receive(tmp_path, split(form(content), cuts)) == ("a.mp4", content)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.lists(st.sampled_from([b"\r\n", b"--", BOUNDARY.encode(), b"-", b"\r", b"\n", b"a"]), min_size=1).map(
        b"".join
    ),
    cuts=st.lists(st.integers(0, 10**6), max_size=12),
)
def test_content_like_a_boundary_is_kept(tmp_path, content, cuts):
    if f"\r\n--{BOUNDARY}".encode() in b"\r\n" + content:
        return  # is one
    assert receive(tmp_path, split(form(content), cuts), max_bytes=10_000)[1] == content


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 10**6), max_size=5), keep=st.integers(0, 400))
def test_damaged_forms_are_400_and_leave_nothing(tmp_path, data, cuts, keep):
    body = form(b"content")[:keep] + data
    problem = None
    try:
        receive(tmp_path, split(body, cuts))
    except ProblemError as error:
        problem = error
    assert problem is None or problem.status in (400, 413, 415)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 90), min_size=1, max_size=20))
def test_a_raw_body_is_refused_at_the_first_byte_over_the_limit(tmp_path, sizes):
    chunks = [bytes(size) for size in sizes]
    if sum(sizes) <= 400:
        assert receive(tmp_path, chunks, kind="video/mp4", max_bytes=400) == ("", b"".join(chunks))
        return
    with pytest.raises(ProblemError, match=r"larger than 0\.0004 MB, the limit of this server") as caught:
        receive(tmp_path, chunks, kind="video/mp4", max_bytes=400)
    assert caught.value.status == 413


def test_reading_stops_at_the_limit(tmp_path):
    taken = []

    async def body():
        for number in range(1000):
            taken.append(number)
            yield bytes(100)

    async def main():
        async with received(body(), tmp_path, headers={"content-type": "video/mp4"}, max_bytes=1000):
            pass

    with pytest.raises(ProblemError, match="larger"):
        asyncio.run(main())
    assert len(taken) == 11


def test_a_form_may_be_little_larger_than_its_file(tmp_path):
    assert receive(tmp_path, [form(bytes(1000))])[1] == bytes(1000)
    with pytest.raises(ProblemError, match="larger"):
        receive(tmp_path, [form(bytes(1001))])
    with pytest.raises(ProblemError, match="larger"):
        receive(tmp_path, [b"\r\n" * 100_000])  # before the first boundary


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (form(b"a", name="video"), "it has the field 'video', and one field 'file' is read"),
        (form(b"a").removesuffix(f"--{BOUNDARY}--\r\n".encode()) + form(b"b"), "it has the field 'file' twice"),
        (form(b"a")[:-4], "it ends before its last boundary"),
        (f"--{BOUNDARY}--\r\n".encode(), "cannot be read"),
        (b"nothing of the kind", "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_form_is_told(tmp_path, body, message):
    with pytest.raises(ProblemError, match=message) as caught:
        receive(tmp_path, [body])
    assert caught.value.status == 400
    assert "curl -F file=@clip.mp4" in caught.value.fix


def test_a_form_without_boundary_is_400(tmp_path):
    with pytest.raises(ProblemError, match="its Content-Type has no boundary"):
        receive(tmp_path, [form(b"a")], kind="multipart/form-data")


@pytest.mark.parametrize("body", [[], [form(b"")]])
def test_an_empty_file_is_400(tmp_path, body):
    with pytest.raises(ProblemError, match="the body is empty"):
        receive(tmp_path, body, kind=FORM if body else "video/mp4")


def test_a_text_file_in_a_form_is_415(tmp_path):
    with pytest.raises(ProblemError, match="Content-Type 'text/plain' is not a type of videos") as caught:
        receive(tmp_path, [form(b"a", kind="text/plain")])
    assert caught.value.status == 415


@pytest.mark.parametrize(
    "kind", ["video/mp4", "VIDEO/X-MATROSKA; codecs=av01", "application/octet-stream", "image/gif"]
)
def test_types_of_videos_are_read(tmp_path, kind):
    assert receive(tmp_path, [b"ab", b"c"], kind=kind) == ("", b"abc")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text/plain", "'text/plain' is not a type of videos"),
        ("", "a body without Content-Type is not"),
        ("video", "not"),
    ],
)
def test_other_types_are_415(tmp_path, kind, message):
    with pytest.raises(ProblemError, match=message) as caught:
        receive(tmp_path, [b"abc"], kind=kind)
    assert caught.value.status == 415
    assert "video/mp4" in caught.value.fix


def test_a_raw_body_may_be_named(tmp_path):
    assert receive(tmp_path, [b"a"], kind="video/mp4", disposition='attachment; filename="b.mp4"')[0] == "b.mp4"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("clip.mp4", "clip.mp4"),
        ("../../etc/passwd", "passwd"),
        ("C:\\videos\\a b.avi", "a b.avi"),
        ("a\nb\x1b[31m.mp4", "ab[31m.mp4"),
        ("\u202egnp.mp4", "gnp.mp4"),
        ("x" * 999, "x" * 255),
        ("..", ".."),
        ("", ""),
    ],
)
def test_a_file_name_is_one_line_without_folders(given, name):
    assert base_name(given) == name


def test_lengths_that_are_stated_are_checked_before_the_body_is_read():
    VIDEO.check({"content-type": "video/mp4", "content-length": "1000"}, max_bytes=1000)
    VIDEO.check({"content-type": FORM, "content-length": "1200"}, max_bytes=1000)
    for headers in ({"content-type": "video/mp4", "content-length": "1001"},
                    {"content-type": FORM, "content-length": "99999"}):  # fmt: skip
        with pytest.raises(ProblemError, match="larger"):
            VIDEO.check(headers, max_bytes=1000)


def test_json_is_not_a_video_and_the_other_way_round():
    JSON.check({"content-type": "application/json; charset=utf-8"}, max_bytes=1)
    with pytest.raises(ProblemError, match="'application/json' is not a type of videos"):
        VIDEO.check({"content-type": "application/json"}, max_bytes=1)
    with pytest.raises(ProblemError, match="'multipart/form-data' is not application/json"):
        JSON.check({"content-type": FORM}, max_bytes=1)


def test_a_full_disk_is_503(tmp_path, monkeypatch):
    class FullDisk:
        def feed(self, chunk: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("timesformer.serve.uploads._sink", lambda *args, **keywords: FullDisk())
    with pytest.raises(ProblemError, match="no disk space left") as caught:
        receive(tmp_path, [b"a"])
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (503, "10")
