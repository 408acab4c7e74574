"""What may be written where: nothing that exists is replaced unasked, and nothing that is read at all."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.errors import ConfigError
from timesformer.files import replacing
from timesformer.outputs import check_files, check_folder, refuse_existing, refuse_inputs

EXISTS = r"already exists; pass overwrite=True \(--overwrite\) to replace it"


def written(path: Path, text: str = "old") -> Path:
    path.write_text(text)
    return path


# --- What exists ----------------------------------------------------------------------------------------------------


def test_file_that_exists_is_replaced_only_when_told(tmp_path: Path):
    file = written(tmp_path / "a.csv")
    with pytest.raises(ConfigError, match=rf"a\.csv: {EXISTS}"):
        check_files(file, overwrite=False)
    check_files(file, overwrite=True)
    check_files(tmp_path / "b.csv", overwrite=False)
    assert os.listdir(tmp_path) == ["a.csv"]  # a check leaves nothing


def test_all_that_exist_are_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"a, .*b: already exists"):
        refuse_existing(written(tmp_path / "a"), tmp_path / "none", written(tmp_path / "b"), overwrite=False)


def test_dangling_link_counts_as_existing(tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path / "none")
    with pytest.raises(ConfigError, match=EXISTS):
        check_files(tmp_path / "link", overwrite=False)


# --- What is read ---------------------------------------------------------------------------------------------------


@pytest.fixture
def read(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    return written(tmp_path / "read.csv")


def test_what_is_read_is_never_replaced_whatever_leads_to_it(tmp_path: Path, read: Path, monkeypatch):
    (tmp_path / "soft.csv").symlink_to(read)
    os.link(read, tmp_path / "hard.csv")
    (tmp_path / "folder").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path / "sub")
    names = [read, tmp_path / "sub/../read.csv", tmp_path / "soft.csv", tmp_path / "hard.csv"]
    for file in [*names, tmp_path / "folder/read.csv", Path("../read.csv"), Path("./../read.csv")]:
        for overwrite in (False, True):
            with pytest.raises(ConfigError, match=r"is an input(, as .*read\.csv)?: choose another file"):
                check_files(file, overwrite=overwrite, reads=[tmp_path / "absent", read])


def test_link_that_is_read_protects_what_it_leads_to(tmp_path: Path, read: Path):
    (tmp_path / "link.csv").symlink_to(read)
    with pytest.raises(ConfigError, match=r"read\.csv: is an input, as .*link\.csv"):
        check_files(read, overwrite=True, reads=[tmp_path / "link.csv"])


def test_all_files_of_a_folder_that_is_read_are_kept(tmp_path: Path, read: Path):
    (tmp_path / "sub/deep").mkdir()
    frame = written(tmp_path / "sub/deep/img_00001.jpg")
    with pytest.raises(ConfigError, match="is an input"):
        check_files(frame, overwrite=True, reads=[tmp_path / "sub"])
    check_files(tmp_path / "sub/deep/new.html", overwrite=False, reads=[tmp_path / "sub"])
    check_files(read, overwrite=True, reads=[tmp_path / "sub"])


def test_reads_are_looked_at_only_if_there_is_something_to_lose(tmp_path: Path):
    refuse_inputs([tmp_path / "new"], (pytest.fail("is looked at") for _ in range(1)))


# --- Two outputs, and places that cannot be -------------------------------------------------------------------------


def test_two_outputs_are_two_files(tmp_path: Path):
    (tmp_path / "sub").mkdir()
    for first, second in (("a", "a"), ("a", "sub/../a"), ("a", "A"), ("caf\u00e9", "cafe\u0301")):
        with pytest.raises(ConfigError, match="are the same file; choose two"):
            check_files(tmp_path / first, tmp_path / second, overwrite=False)
    check_files(tmp_path / "a", tmp_path / "sub/a", overwrite=False)
    os.link(written(tmp_path / "x"), tmp_path / "y")
    with pytest.raises(ConfigError, match="are the same file"):
        check_files(tmp_path / "x", tmp_path / "y", overwrite=True)


def test_place_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path):
    file = written(tmp_path / "file")
    for path, message in (
        (tmp_path, "is a folder; choose a file"),
        (Path(), "is a folder; choose a file"),
        (tmp_path / "none/a", f"cannot be written: the folder {tmp_path}/none does not exist"),
        (file / "a", f"cannot be written: the folder {file} does not exist"),
        (tmp_path / ("a" * 300), "cannot be written: File name too long"),
        (Path("-"), "is not a file; give a path, or /dev/stdout"),
        (Path("/dev/new"), "is not a regular file"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_files(path, overwrite=True)


def test_folder_that_takes_no_files_is_refused_before_the_work(tmp_path: Path, monkeypatch):
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("timesformer.outputs.tempfile.TemporaryFile", refuse)
    with pytest.raises(ConfigError, match=r"a\.csv: cannot be written: Permission denied"):
        check_files(tmp_path / "a.csv", overwrite=False)
    with pytest.raises(ConfigError, match="new/er: cannot be written: Permission denied"):
        check_folder(tmp_path / "new/er")


def test_folder_below_a_file_is_refused(tmp_path: Path):
    file = written(tmp_path / "file")
    check_folder(tmp_path / "new/folder")
    with pytest.raises(ConfigError, match="file: is a file; choose a folder"):
        check_folder(file)
    with pytest.raises(ConfigError, match=r"file/a/b: cannot be created: .*file is a file"):
        check_folder(file / "a/b")
    assert os.listdir(tmp_path) == ["file"]


# --- Devices, pipes and sockets -------------------------------------------------------------------------------------


def test_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check_files(pipe, Path("/dev/null"), Path("/dev/null"), overwrite=False)
    with open(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:
        with replacing(pipe) as partial:
            partial.write_bytes(b"rows")
        assert reader.read() == b"rows"
    assert pipe.is_fifo() and os.listdir(tmp_path) == ["pipe"]


def test_device_is_not_replaced():
    with replacing(Path("/dev/null")) as partial:
        partial.write_bytes(b"rows")
    assert Path("/dev/null").is_char_device()


def test_socket_is_not_replaced(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind("socket")
        with pytest.raises(ConfigError, match="is not a regular file"):
            check_files(Path("socket"), overwrite=True)


def test_file_that_stdout_goes_to_is_not_replaced(tmp_path: Path):
    with open(tmp_path / "out", "wb") as file:
        before = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            for path in (tmp_path / "out", Path("/dev/stdout")):
                with pytest.raises(ConfigError, match="results or messages are printed there"):
                    check_files(path, overwrite=True)
        finally:
            os.dup2(before, 1)
            os.close(before)


# --- Names ----------------------------------------------------------------------------------------------------------


@given(length=st.integers(1, 255), first=st.sampled_from(["a", "\u00e9"]))
def test_names_of_any_length_can_be_written(tmp_path_factory: pytest.TempPathFactory, length: int, first: str):
    folder = tmp_path_factory.mktemp("names")
    name = (first + "b" * length)[: length - (first != "a")] or first
    with replacing(folder / name) as partial:
        partial.write_text("new")
    assert os.listdir(folder) == [name]


def test_long_names_with_one_beginning_have_temporary_names_of_their_own(tmp_path: Path):
    with replacing(tmp_path / ("a" * 250 + "b")) as first, replacing(tmp_path / ("a" * 250 + "c")) as second:
        first.write_text("b")
        second.write_text("c")
    assert (tmp_path / ("a" * 250 + "b")).read_text() == "b"
