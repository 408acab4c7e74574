"""Files of segments with any content: they are read, or refused with an error of ours that names the file."""

import json
import logging
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from timesformer.data.manifest.manifest import holds_splits, read_rows
from timesformer.errors import DataError

KEYS = (
    "database", "results", "annotations", "completions", "annotation_id", "label", "segment", "subset", "id", "data",
    "video", "fps", "result", "type", "value", "ranges", "start", "end", "timelinelabels", "labels", "was_cancelled",
)  # fmt: skip
TEXTS = st.sampled_from(
    ["timelinelabels", "labels", "a.mp4", "\x00", "http://[", "training", "", "wave", "1", "\ud800"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-3, 40) | st.just(10**400) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | TEXTS, inner, max_size=5),
    max_leaves=12,
)
REGION = st.fixed_dictionaries({"type": TEXTS | JSON, "value": st.fixed_dictionaries({"ranges": JSON, "labels": JSON})})
TASK = st.fixed_dictionaries(
    {"data": st.fixed_dictionaries({"video": TEXTS | JSON, "fps": st.just(10) | JSON})},
    optional={
        "annotations": st.lists(st.fixed_dictionaries({"result": st.lists(REGION | JSON, max_size=2)})),
        "id": JSON,
    },
)
VIDEO = st.fixed_dictionaries(
    {"annotations": st.lists(st.fixed_dictionaries({"label": JSON, "segment": st.lists(JSON, max_size=2)}) | JSON)},
    optional={"subset": JSON},
)
DATABASE = st.fixed_dictionaries({"database": st.dictionaries(TEXTS, VIDEO | JSON, max_size=3)})


def task(video: str) -> dict[str, object]:
    value = {"ranges": [{"start": 1, "end": 5}], "timelinelabels": ["wave"]}
    region = {"type": "timelinelabels", "value": value}
    return {"data": {"video": video, "fps": 10}, "annotations": [{"result": [region]}]}


def read_or_refuse(path: Path) -> None:
    """Read a file, or see it refused with its name."""
    message, rows = path.name, []
    try:
        rows, _ = read_rows(path)
    except DataError as error:
        message = str(error)
    assert path.name in message
    assert all(row.segment is None or 0 <= row.segment.start < row.segment.end for row in rows)


@pytest.fixture(scope="module")
def write(tmp_path_factory) -> Callable[[str, str], Path]:
    folder = tmp_path_factory.mktemp("odd")

    def write_file(name: str, text: str) -> Path:
        path = folder / name
        path.write_text(text, "utf-8", errors="surrogatepass")
        return path

    return write_file


@pytest.fixture(autouse=True, scope="module")
def _without_log() -> Generator[None]:
    """Log nothing: pytest-xdist cannot send a warning that quotes half a surrogate pair to the process that reports."""
    logger = logging.getLogger("timesformer")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


@settings(max_examples=300)
@given(JSON | DATABASE | st.lists(TASK | JSON, min_size=1, max_size=2))
@example([task("http://[")])
@example([task("\x00")])
@example([task("file:")])
@example([task("/")])
@example([task("a" * 5000)])
@example([{"annotations": [{"result": [{"type": [], "value": {}}]}], "data": {}}])
@example({"results": {"a": [{"label": "\ud800", "segment": [1, 2]}]}})
def test_any_json_is_read_or_refused(write, content):
    path = write("any.json", json.dumps(content))
    holds_splits(path)
    read_or_refuse(path)


XML = (
    '<ANNOTATION_DOCUMENT><HEADER TIME_UNITS="milliseconds"><MEDIA_DESCRIPTOR MEDIA_URL="{url}" MIME_TYPE="video/mp4" '
    'TIME_ORIGIN="{origin}"/></HEADER><TIME_ORDER><TIME_SLOT TIME_SLOT_ID="a" TIME_VALUE="{start}"/><TIME_SLOT '
    'TIME_SLOT_ID="b" TIME_VALUE="{end}"/></TIME_ORDER><TIER TIER_ID="x"><ALIGNABLE_ANNOTATION TIME_SLOT_REF1="a" '
    'TIME_SLOT_REF2="{slot}"><ANNOTATION_VALUE>{label}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></TIER>'
    "</ANNOTATION_DOCUMENT>"
)
CELLS = st.sampled_from(
    ["", "0", "5", "-1", "1e999", "9" * 400, "9" * 5000, "nan", "1,5", "1:02", "1:99", "a.mp4", "²", "½", "wave"]
)


@given(st.fixed_dictionaries(dict.fromkeys(("url", "origin", "start", "end", "slot", "label"), CELLS | st.just("b"))))
def test_any_elan_file_is_read_or_refused(write, fields):
    read_or_refuse(write("any.eaf", XML.format(**fields)))


@given(st.integers(0, len(XML)), st.integers(0, len(XML)))
def test_any_part_of_an_elan_file_is_read_or_refused(write, start, end):
    read_or_refuse(write("any.eaf", XML[start:end]))


@given(
    st.lists(CELLS, min_size=4, max_size=4),
    st.sampled_from(["start,end", "start_ms,end_ms", "t_end,start"]),
)
def test_any_cells_of_a_table_are_read_or_refused(write, cells, columns):
    row = ",".join(f'"{cell}"' for cell in cells)
    read_or_refuse(write("any.csv", f"path,label,{columns}\na.mp4,wave,1,2\n{row}\n"))


@given(st.lists(CELLS | st.sampled_from(["STATE", "POINT"]), min_size=6, max_size=6))
def test_any_cells_of_boris_are_read_or_refused(write, cells):
    header = "Media file name\tSubject\tBehavior\tBehavior type\tStart (s)\tStop (s)"
    rows = "\t".join(["a.mp4", "", "wave", "STATE", "1", "2"]) + "\n" + "\t".join(cells)
    read_or_refuse(write("any.tsv", f"{header}\n{rows}\n"))
