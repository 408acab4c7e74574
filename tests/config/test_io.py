"""Configs from files and the command line: round trips, and errors that name the problem."""

import dataclasses
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from timesformer.config.info import ModelInfo
from timesformer.config.io import apply_overrides, dump_toml, from_dict, parse_overrides, read_config, to_dict
from timesformer.config.run import DataConfig, OptimConfig, RunConfig
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.errors import ConfigError


@pytest.fixture(autouse=True, scope="module")
def _annotations_unchecked() -> Iterator[None]:
    """Configs are made inside strategies, where beartype's random choice of what to check is not allowed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        yield


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
shares = st.floats(0.0, 1.0, exclude_max=True)
positive = st.floats(1e-9, 1e6)
triples = st.tuples(shares, shares, shares)


@st.composite
def models(draw: st.DrawFn) -> ModelConfig:
    patch_size, num_heads = draw(st.integers(1, 32)), draw(st.integers(1, 16))
    return ModelConfig(
        scheme=draw(st.sampled_from(["space_only", "divided_space_time", "axial"])),
        image_size=(patch_size * draw(st.integers(1, 9)), patch_size * draw(st.integers(1, 9))),
        patch_size=patch_size,
        embed_dim=num_heads * draw(st.integers(1, 64)),
        num_heads=num_heads,
        mlp_ratio=draw(positive),
        norm_eps=draw(positive),
        qkv_bias=draw(st.booleans()),
        drop_path=draw(shares),
    )


clips = st.builds(
    ClipConfig,
    sampling=st.sampled_from(["dense", "center"]),
    target_fps=positive | st.integers(1, 100),
    mean=triples,
    std=st.tuples(positive, positive, positive),
    channel_order=st.sampled_from(["rgb", "bgr", "time"]),
    background=st.sampled_from(["keep", "remove", "difference"]),
)
datas = st.builds(
    DataConfig,
    train=texts,
    scale_range=st.lists(st.floats(1.0, 4.0), min_size=2, max_size=2).map(sorted).map(tuple),
    flip=st.booleans(),
)
optims = st.builds(
    OptimConfig,
    lr=positive,
    schedule=st.just("steps"),
    milestones=st.lists(st.floats(0.0, 1.0, exclude_min=True, exclude_max=True), max_size=4).map(sorted).map(tuple),
)
runs = st.builds(
    RunConfig,
    model=models(),
    clip=clips,
    data=datas,
    optim=optims,
    init_from=texts,
    epochs=st.integers(1, 10**12),
    output=texts.filter(bool),
)


def parse(text: str, *, suffix: str = ".toml", kind: type = RunConfig) -> object:
    values = tomllib.loads(text) if suffix == ".toml" else json.loads(text)
    return from_dict(values, kind=kind, source=f"run{suffix}")


@given(runs)
@example(RunConfig(init_from='a "quoted" \\ path\n\t\x00\x7f\x85é🎬'))
def test_config_survives_toml(config):
    assert parse(dump_toml(config)) == config


@given(runs)
def test_config_survives_json(config):
    assert parse(json.dumps(to_dict(config)), suffix=".json") == config


@given(models() | clips | datas | optims)
def test_part_of_a_config_survives_toml(config):
    assert parse(dump_toml(config), kind=type(config)) == config


@given(runs)
def test_dictionaries_are_what_json_gives_back(config):
    assert json.loads(json.dumps(to_dict(config))) == to_dict(config)


@pytest.mark.parametrize("suffix", [".toml", ".json", ".TOML"])
def test_config_is_read_from_a_file(tmp_path, suffix):
    path = tmp_path / f"run{suffix}"
    texts_of = {".toml": 'epochs = 3\n[model]\ndepth = 6\nscheme = "axial"\n[data]\ntrain = "vidéos"\n'}
    as_json = {"epochs": 3, "model": {"depth": 6, "scheme": "axial"}, "data": {"train": "vidéos"}}
    path.write_text(texts_of.get(suffix.lower(), json.dumps(as_json)), encoding="utf-8")
    model, data = ModelConfig(depth=6, scheme="axial"), DataConfig(train="vidéos")
    assert read_config(path, kind=RunConfig) == RunConfig(epochs=3, model=model, data=data)


def test_empty_file_gives_the_defaults(tmp_path):
    (tmp_path / "run.toml").write_text("")
    assert read_config(tmp_path / "run.toml", kind=RunConfig) == RunConfig()


def test_other_configs_nest_too():
    info = ModelInfo(clip=ClipConfig(frame_stride=4), labels=("run", "jump"), license="MIT")
    assert from_dict(to_dict(info), kind=ModelInfo, source="config.json") == info


def test_one_side_stands_for_a_square_image():
    assert parse("[model]\nimage_size = 64").model.image_size == (64, 64)
    assert apply_overrides(ModelConfig(), ["image_size=64"]).image_size == (64, 64)


def test_int_is_taken_for_a_float():
    fps = parse("[clip]\ntarget_fps = 25").clip.target_fps
    assert (fps, type(fps)) == (25.0, float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[model]\ndept = 6", r"^run.toml: unknown key model.dept; did you mean model.depth\?$"),
        ("[modle]\ndepth = 6", r"^run.toml: unknown key modle; did you mean model\?$"),
        ("depth = 6", r"^run.toml: unknown key depth; did you mean model.depth\?$"),
        ('"model.depth" = 6', r"^run.toml: unknown key model.depth; did you mean model.depth\?$"),
        ("quokka = 1", r"^run.toml: unknown key quokka$"),
        ('[model]\ndepth = "8"', r'^run.toml: model.depth="8" must be a valid integer$'),
        ("[model]\ndepth = true", r"^run.toml: model.depth=true must be a valid integer$"),
        ("[model]\ndepth = 8.0", r"^run.toml: model.depth=8.0 must be a valid integer$"),
        ('[optim]\nlr = "1e-3"', r'^run.toml: optim.lr="1e-3" must be a valid number$'),
        ("[optim]\nlr = true", r"^run.toml: optim.lr=true must be a valid number$"),
        ("[optim]\nlr = inf", r"^run.toml: optim.lr=Infinity must be finite$"),
        ("[clip]\nmean = [0.5, nan, 0.5]", r"^run.toml: clip.mean=\[0.5, NaN, 0.5\] must be finite$"),
        ("[data]\nflip = 1", r"^run.toml: data.flip=1 must be a valid boolean$"),
        (
            "[data]\ntrain = 2024-01-01",
            r'^run.toml: data.train="2024-01-01" must be a number, a string, true, false or',
        ),
        ("[data]\ntrain = {path = 1}", r"^run.toml: data.train=.* must be a number, a string, true, false or a list"),
        ("model = 3", r"^run.toml: model=3 must be a table$"),
        (
            '[model]\nscheme = "divided_spacetime"',
            r"""^run.toml: model.scheme="divided_spacetime" must be .*; did you mean 'divided_space_time'\?$""",
        ),
        ('[model]\nscheme = "x"', r"""^run.toml: model.scheme="x" must be 'space_only', .* or 'parallel'$"""),
        ("[clip]\nmean = [1, 2]", r"^run.toml: clip.mean\[2\] is missing: \[1, 2\] is too short$"),
        ("[model]\nimage_size = [16, 16, 16]", r"^run.toml: model.image_size=\[16, 16, 16\] must have at most 2 items"),
        ('[clip]\nmean = [1, "2", 3]', r'^run.toml: clip.mean\[1\]="2" must be a valid number$'),
        ("epochs = 0", r"^run.toml: epochs=0 must be greater than 0, and finite$"),
        ("[model]\nembed_dim = 10\nnum_heads = 4", r"^run.toml: model: embed_dim=10 is not a multiple of num_heads=4$"),
    ],
)
def test_wrong_value_is_refused_with_its_source_and_key(text, message):
    with pytest.raises(ConfigError, match=message):
        parse(text)


def test_every_problem_has_its_own_line():
    with pytest.raises(ConfigError) as caught:
        parse("epoch = 1\n[model]\ndept = 6\n[optim]\nlr = nan\n")
    assert str(caught.value).splitlines() == [
        "run.toml: unknown key epoch; did you mean epochs?",
        "run.toml: unknown key model.dept; did you mean model.depth?",
        "run.toml: optim.lr=NaN must be finite",
    ]
    with pytest.raises(ConfigError) as caught:
        parse('seed = "1"\n[model]\ndepth = 0\n')
    assert sorted(str(caught.value).splitlines()) == [
        "run.toml: model: depth=0 must be greater than 0, and finite",
        'run.toml: seed="1" must be a valid integer',
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.toml", b"epochs = ", r"run\.toml: Invalid value"),
        ("run.toml", b"epochs = 1\nepochs = 2", r"run\.toml: Cannot overwrite a value"),
        ("run.json", b'{"epochs": 3', r"run\.json: Expecting ',' delimiter"),
        ("run.json", b'{"epochs": 3, "seed": 1, "epochs": 4}', r"run\.json: key 'epochs' occurs twice"),
        ("run.json", b"[1, 2]", r"run\.json: the top level must be a table, not \[1, 2\]"),
        ("run.json", b"[" * 100_000, r"run\.json: maximum recursion depth exceeded"),
        ("run.json", b'{"data": {"train": null}}', r"run\.json: data\.train=null must be a number, a string"),
        ("run.toml", b"output = '\xff'", r"run\.toml: 'utf-8' codec can't decode"),
        ("run.yaml", b"epochs: 3", r"run\.yaml: a configuration must be a \.toml or \.json file"),
    ],
)
def test_unreadable_file_is_refused_by_its_name(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_config(tmp_path / name, kind=RunConfig)


def test_missing_file_is_refused_by_its_name(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.toml: No such file or directory"):
        read_config(tmp_path / "gone.toml", kind=RunConfig)


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("model.depth=6", "model.depth", 6),
        ("optim.lr=1e-3", "optim.lr", 1e-3),
        ("optim.lr=1", "optim.lr", 1.0),
        ("data.flip=true", "data.flip", True),
        ("model.scheme=axial", "model.scheme", "axial"),
        ('model.scheme="axial"', "model.scheme", "axial"),
        ("model.image_size=[32, 48]", "model.image_size", (32, 48)),
        ("data.train=/videos/my set=1", "data.train", "/videos/my set=1"),
        ("data.train=2024-01-01", "data.train", "2024-01-01"),
        ("data.train=07:32:00", "data.train", "07:32:00"),
        ('data.train="123"', "data.train", "123"),
        ("data.train=1\nepochs = 2", "data.train", "1\nepochs = 2"),
        ("data.val=", "data.val", ""),
        (" epochs = 3 ", "epochs", 3),
    ],
)
def test_override_sets_one_value_and_nothing_else(override, path, value):
    config = RunConfig(data=DataConfig(val="there"))
    changed = apply_overrides(config, [override])
    *sections, last = path.split(".")
    before, after = (getattr(c, sections[0]) if sections else c for c in (config, changed))
    assert after == dataclasses.replace(before, **{last: value})
    assert type(getattr(after, last)) is type(value)
    if sections:
        assert changed == dataclasses.replace(config, **{sections[0]: after})


def test_overrides_are_checked_together_and_the_later_one_wins():
    changed = apply_overrides(ModelConfig(), ["embed_dim=10", "num_heads=4", "num_heads=5"])
    assert (changed.embed_dim, changed.num_heads) == (10, 5)


def test_no_override_changes_nothing():
    assert apply_overrides(RunConfig(epochs=2), []) == RunConfig(epochs=2)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.depth", r"^--set model.depth: write it as key=value$"),
        ("model.dept=6", r"^--set model.dept=6: unknown key model.dept; did you mean model.depth\?$"),
        ("depth=6", r"^--set depth=6: unknown key depth; did you mean model.depth\?$"),
        ("model.depth.x=6", r"^--set model.depth.x=6: unknown key model.depth.x; did you mean model.depth\?$"),
        ("=6", r"^--set =6: unknown key $"),
        ("model={depth = 6}", r"^--set model=.*: model is a section; set one of its keys, such as model.scheme$"),
        ("model.depth=six", r'^--set: model.depth="six" must be a valid integer$'),
        ("data.train=123", r"^--set: data.train=123 must be a valid string$"),
        ("model.depth=0", r"^--set: model: depth=0 must be greater than 0, and finite$"),
    ],
)
def test_wrong_override_is_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        apply_overrides(RunConfig(), [override])


def test_override_names_the_source_that_it_is_told():
    with pytest.raises(ConfigError, match=r"^TIMESFORMER_SET epochs=: |^TIMESFORMER_SET: epochs"):
        apply_overrides(RunConfig(), ["epochs="], source="TIMESFORMER_SET")


def test_toml_is_written_for_people(tmp_path: Path):
    text = dump_toml(RunConfig(data=DataConfig(train='my "set"')))
    assert text.startswith(
        'init_from = ""\ndistill_from = []\ninit_scale = 1.0\ninit_head = ""\nprobe_views = 0\n'
        'probe_inputs = ["given"]\nepochs = 15\n'
    )
    assert '\n\n[model]\nscheme = "divided_space_time"\nnum_frames = 8\nimage_size = [224, 224]\n' in text
    assert '\ntrain = "my \\"set\\""\n' in text
    assert "\nflip = false\n" in text
    assert text.endswith("ema_decay = 0.0\ndistill_weight = 0.5\ndistill_temperature = 2.0\n")


def test_config_does_not_import_torch():
    code = "import sys, timesformer.config.io, timesformer.config.presets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_overrides_are_read_without_a_configuration_to_fit():
    assert parse_overrides(["image_size=40", "num_heads=5", "num_heads=7"], kind=ModelConfig) == {
        "image_size": 40,
        "num_heads": 7,
    }


# --- Files of other editors and systems -----------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "text"), [("run.toml", "epochs = 7\n"), ("run.json", '{"epochs": 7}')])
def test_byte_order_mark_is_ignored(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert read_config(tmp_path / name, kind=RunConfig).epochs == 7
    (tmp_path / name).write_text(text, encoding="utf-16")
    with pytest.raises(ConfigError, match=rf"{name}: 'utf-8' codec can't decode byte .*; save it as UTF-8"):
        read_config(tmp_path / name, kind=RunConfig)


@pytest.mark.parametrize(
    "path",
    [r"C:\videos", r"C:\temp\new", r"C:\Users\me", r"C:\u", r"videos\train", r"\\server\share", r"D:\x\\y", r"a\.\b"],
)
@pytest.mark.parametrize("form", ["toml", "json", "set"])
def test_backslashes_of_windows_are_refused_where_they_would_be_escapes(tmp_path, path, form):
    message = rf'line {1 if form == "set" else 3}: a backslash in double quotes is an escape; write val with slashes, "'
    if form == "set":
        with pytest.raises(ConfigError, match=message):
            apply_overrides(RunConfig(), [f'data.val="{path}"'])
        return
    text = (
        f'epochs = 1\n[data]\nval = "{path}"' if form == "toml" else f'{{"epochs": 1, "data": {{\n\n"val": "{path}"}}}}'
    )
    (tmp_path / f"run.{form}").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(tmp_path / f"run.{form}", kind=RunConfig)
    assert path.replace("\\", "/") in str(caught.value)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("train = 'C:\\temp'", r"C:\temp"),
        (r'train = "C:\\temp"', r"C:\temp"),
        (r'train = "x\\users\\n"', r"x\users\n"),
        ('train = "C:/temp"', "C:/temp"),
        (r'train = "caf\u00e9"', "caf\u00e9"),
        (r'train = "a\"b"', 'a"b'),
        ('# train = "C:\\temp"\ntrain = "x"', "x"),
    ],
)
def test_path_without_ambiguous_escapes_is_accepted(tmp_path, text, path):
    (tmp_path / "run.toml").write_text(f"[data]\n{text}\n")
    assert read_config(tmp_path / "run.toml", kind=RunConfig).data.train == path


def test_name_with_a_tab_is_taken_if_it_is_there(tmp_path):
    (tmp_path / "my\tvideos").mkdir()
    (tmp_path / "run.toml").write_text(f'[data]\ntrain = "{tmp_path}/my\\tvideos"\n')
    assert read_config(tmp_path / "run.toml", kind=RunConfig).data.train == f"{tmp_path}/my\tvideos"


@pytest.mark.parametrize(
    "path", ["C:\\temp", "C:\temp", "a\tb\nc", "C:\x08", 'C:"', "C:\\", "\\users", "D:\\\\x", "\x7f"]
)
def test_any_path_is_written_so_that_it_is_read_back(tmp_path, path):
    run = RunConfig(data=DataConfig(train=path, val=path), output=path)
    (tmp_path / "run.toml").write_text(dump_toml(run), encoding="utf-8")
    assert read_config(tmp_path / "run.toml", kind=RunConfig) == run


def test_text_that_is_not_utf8_is_refused():
    with pytest.raises(ConfigError, match=r"given: data\.train=.* must be text in UTF-8"):
        from_dict({"data": {"train": "caf\udce9"}}, kind=RunConfig, source="given")
