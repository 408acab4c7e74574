"""Lists of videos without labels."""

import os

import pytest

from timesformer.data.manifest.path_list import read_path_list
from timesformer.data.video.segment import Segment
from timesformer.errors import DataError


def read(folder, content):
    path = folder / "list.txt"
    path.write_bytes(content)
    return [(os.path.relpath(video, folder), segment) for video, segment in read_path_list(path)]


@pytest.mark.parametrize(
    "content",
    [
        b"a.mp4\nb c.mp4\n",
        b"a.mp4\r\n\r\nb c.mp4",
        b"# all of it\r\na.mp4\r\n#\r\n#\tmore\r\nb c.mp4\r\n",
        b"\xef\xbb\xbfa.mp4\nb c.mp4\n",
        b"path\na.mp4\nb c.mp4\n",
        b'Path,Label\na.mp4,"x, y"\n"b c.mp4",z\n',
        b"label,path,start,end\nx,a.mp4,,\n\ny,b c.mp4,,\n",
    ],
)
def test_a_line_is_a_path_relative_to_the_list(tmp_path, content):
    assert read(tmp_path, content) == [("a.mp4", None), ("b c.mp4", None)]


def test_absolute_paths_and_names_of_any_bytes_stay(tmp_path):
    assert read(tmp_path, b"/x/caf\xe9, 1.mp4\n#2.mp4\n") == [
        (os.path.relpath(os.fsdecode(b"/x/caf\xe9, 1.mp4"), tmp_path), None),
        ("#2.mp4", None),
    ]


def test_segments_in_seconds(tmp_path):
    assert read(tmp_path, b"path,start,end\na,0,1.5\na,1.5,2e1\n") == [("a", Segment(0, 1.5)), ("a", Segment(1.5, 20))]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,start,end\na,2,1\n", r"list.txt, line 2: start='2' and end='1' are not two rising times in seconds"),
        (b"path,start,end\na,0,1\na,x,1\n", r"list.txt, line 3: start='x' and end='1' are not two rising times"),
        (b"path,start,end\na,,1\n", r"list.txt, line 2: start='' and end='1' are not"),
        (b"path,label\na\n", r"list.txt, line 2: has 1 fields, the header has 2"),
        (b"path,label\n,x\n", r"list.txt, line 2: '' is not a path"),
        (b"a\n\nb\0c\n", r"list.txt, line 3: 'b\\x00c' is not a path"),
        (b"a\nhttps://x.org/a.mp4\n", r"list.txt, line 2: 'https://x.org/a.mp4' is a URL"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, content)


def test_missing_list_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"nothing.txt: cannot be read: No such file or directory"):
        list(read_path_list(tmp_path / "nothing.txt"))


def test_list_is_read_as_it_is_used(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a\n" * 3 + "http://x\n")
    videos = read_path_list(path)
    assert [next(videos)[0] for _ in range(3)] == [str(tmp_path / "a")] * 3
