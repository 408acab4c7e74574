"""Files of class names: read in any accepted form, or refused with the list of forms."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.config.class_names_file import parse_class_names, read_class_names
from timesformer.errors import ConfigError
from timesformer.weights.formats.released import read_labels

NAMES = ("abseiling", "air drumming", "zumba, slow")


def read(tmp_path: Path, text: str | bytes, *, count: int = 3, name: str = "names.txt") -> tuple[str, ...]:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_class_names(path, num_classes=count)


@pytest.mark.parametrize(
    "text",
    [
        "abseiling\nair drumming\nzumba, slow\n",
        "\ufeffabseiling\r\nair drumming\r\n\r\nzumba, slow",
        "0 abseiling\n1 air drumming\n2 zumba, slow\n",
        "2 zumba, slow\n0 abseiling\n1 air drumming\n",
        "abseiling 0\nair drumming 1\nzumba, slow 2\n",
        "00\tabseiling\n01\tair drumming\n02\tzumba, slow\n",
        '0,abseiling\n1,air drumming\n2,"zumba, slow"\n',
        'abseiling,0\nair drumming,1\n"zumba, slow",2\n',
        "0: abseiling\n1: air drumming\n2: zumba, slow",
        "0. abseiling\n1. air drumming\n2. zumba, slow",
        'id,name\n0,abseiling\n1,air drumming\n2,"zumba, slow"\n',
        'Name;ID\n"zumba, slow";2\nabseiling;0\nair drumming;1\n',
        "label\tindex\nabseiling\t0\nzumba, slow\t2\nair drumming\t1\n",
        'label,name\n0,abseiling\n1,air drumming\n2,"zumba, slow"\n',
        "index,id,name\n0,k1,abseiling\n1,k2,air drumming\n2,k3,zumba\\, slow".replace(
            "zumba\\, slow", '"zumba, slow"'
        ),
        ',name\n0,abseiling\n1,air drumming\n2,"zumba, slow"\n',
        'name,parent\nabseiling,up\nair drumming,music\n"zumba, slow",dance\n',
        'name\nabseiling\nair drumming\n"zumba, slow"\n',
        '"abseiling",\n"air drumming",\n"zumba, slow"\n',
        '["abseiling", "air drumming", "zumba, slow"]',
        '{"abseiling": 0, "zumba, slow": 2, "air drumming": 1}',
        '{"abseiling": "0", "zumba, slow": "2", "air drumming": "1"}',
        '{"\\"abseiling\\"": 0, "\\"zumba, slow\\"": 2, "\\"air drumming\\"": 1}',
        '{"0": "abseiling", "1": "air drumming", "2": "zumba, slow"}',
        '{"model_type": "timesformer", "id2label": {"0": "abseiling", "2": "zumba, slow", "1": "air drumming"}}',
        '[{"id": 0, "name": "abseiling"}, {"id": 2, "name": "zumba, slow"}, {"id": 1, "name": "air drumming"}]',
    ],
)
def test_each_form_gives_the_names_in_the_order_of_their_numbers(tmp_path: Path, text: str):
    assert read(tmp_path, text) == NAMES


@pytest.mark.parametrize(
    "names",
    [
        ("3 point shot", "dunk", "free throw"),
        ("3 point shot", "2 point shot", "5 a side"),
        ("100 m", "200 m", "400 m"),
        ("level 0", "level 1", "level 2"),
        ("1 hand", "2 hand", "3 hand"),
        ("#hashtag", "[REC]", "{x"),
        ("label", "action, adventure", "name"),
        ("id", "label", "class"),
        ("0", "1", "2"),
        ("a\u2028b", "c\u0085d", "e\x0bf"),
        ("-", "走る", "né"),
    ],
)
def test_plain_file_of_names_stays_as_it_is(tmp_path: Path, names: tuple[str, ...]):
    assert read(tmp_path, "\n".join(names) + "\n") == names


@pytest.mark.parametrize("name", ["k400", "k600", "ssv2"])
def test_published_names_are_plain(name: str):
    names = read_labels(name)
    assert parse_class_names("\n".join(names), num_classes=len(names)) == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\nb\n", "has 2 names, the model has num_classes=3; allowed are: one name per line, the first being class 0"),
        ("", "has 0 names"),
        ("a\nb\na\n", "'a' is the name of class 0 and 2"),
        ('["a", "", "c"]', "the name of class 1 is ''; a name is one line of text"),
        ('["a", "b\\nb", "c"]', r"the name of class 1 is 'b\\nb'"),
        ('["a", "\\ud800", "c"]', r"the name of class 1 is '\\ud800'"),
        ("0,a\n1,\n2,c\n", "the name of class 1 is ''"),
        (
            "1 a\n2 b\n3 c\n",
            "its classes are numbered 1, 2, 3, ...; expected 0 to 2, each once; .* write the names as a JSON list",
        ),
        ("a 1\nb 2\nc 3\n", "its classes are numbered 1, 2, 3, ...; expected 0 to 2, each once"),
        ("0 a\n1 b\n1 c\n", "its classes are numbered 0, 1, 1, ...; expected 0 to 2, each once"),
        ("0,a\n2,b\n3,c\n", "its classes are numbered 0, 2, 3, ...; expected 0 to 2, each once"),
        ("4,a\n2,b\n3,c\n", "its classes are numbered 4, 2, 3, ...; expected 0 to 2, each once"),
        ("id,name\n1,a\n2,b\n3,c\n", "its classes are numbered 1, 2, 3, ...; expected 0 to 2"),
        ("id,name\nx,a\ny,b\nz,c\n", "the column id must hold the numbers 0 to 2, each once"),
        ("id,name\n0,a\n1,b,b\n2,c\n", "row 2 below id, name has another number of columns"),
        ("name,label\na,x\nb,y\nc,z\n", "of the columns name, label it is not clear which is the name"),
        ('{"a": 1, "b": 2, "c": 3}', "its classes are numbered 1, 2, 3, ...; expected 0 to 2"),
        (
            '{"a": 0, "b": 1, "c": "x"}',
            "holds a map, but neither of names to numbers nor of numbers to names; ",
        ),
        ('{"a": 0, "b": 1, "c": null}', "holds a map, but neither of names"),
        ('{"0": "1", "1": "2", "2": "0"}', "maps numbers to numbers: it is not clear which are names"),
        ('{"0": "a", "0": "b", "1": "c"}', "cannot be read as JSON: the key '0' occurs twice"),
        ('["a", "b", 3]', "holds JSON of another form; allowed are"),
        ('{"classes": ["a", "b", "c"]}', "holds a map, but neither of names"),
        ('["a", "b" "c"]', "cannot be read as JSON: Expecting ',' delimiter"),
        ('{"name": "a"}\n{"name": "b"}\n{"name": "c"}', "cannot be read as JSON: Extra data"),
        ("[" * 100_000 + "]", "cannot be read as JSON"),
        ('{"a": ' + "9" * 5000 + "}", "cannot be read as JSON: Exceeds the limit"),
        ("- a\n- b\n- c\n", "is a YAML list; allowed are"),
        ("a" * 200_000 + "\nb\nc", "holds a line that is not a name: aaaa"),
        ("a\nb\nc\n".encode("utf-16"), "cannot be read as a list of class names in UTF-8"),
        (b"caf\xe9\nb\nc\n", "cannot be read as a list of class names in UTF-8"),
    ],
)
def test_ambiguous_file_is_refused_by_name(tmp_path: Path, text: str | bytes, message: str):
    with pytest.raises(ConfigError, match=rf"names\.txt: {message}"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("name", "message"), [("names.json", "read as JSON"), ("n.YAML", "is not a file of class names")]
)
def test_suffix_says_what_must_be_in_the_file(tmp_path: Path, name: str, message: str):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, "a\nb\nc\n", name=name)


def test_missing_file_and_folder_are_refused(tmp_path: Path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read as a list of class names"):
            read_class_names(path, num_classes=3)


@given(count=st.integers(1, 9), order=st.randoms(use_true_random=False), extra=st.lists(st.integers(0, 99), max_size=3))
def test_a_table_in_any_order_gives_the_same_names(count: int, order, extra: list[int]):
    names = [f"class {'x' * (i + 1)}" for i in range(count)]
    rows = list(enumerate(names))
    order.shuffle(rows)
    for text in (
        "\n".join(f"{i} {name}" for i, name in rows),
        "index,name\n" + "\n".join(f"{i},{name}" for i, name in rows),
        json.dumps({str(i): name for i, name in rows}),
        json.dumps({name: i for i, name in rows}),
    ):
        assert parse_class_names(text, num_classes=count) == tuple(names)


@given(st.text(max_size=60), st.booleans())
def test_any_text_gives_names_or_an_error_of_ours(text: str, is_json: bool):
    try:
        names = parse_class_names(text, is_json=is_json, num_classes=text.count("\n"))
    except ConfigError:
        return
    assert all(isinstance(name, str) for name in names)
