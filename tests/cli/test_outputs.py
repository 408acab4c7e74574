"""What verbs write: nothing that exists unasked, nothing that they read at all, whatever name leads there."""

import os
import shutil

import pytest

EXISTS = "already exists; pass overwrite=True (--overwrite) to replace it"


@pytest.fixture
def data(video_folder, tmp_path):
    """A list of videos in a folder of its own."""
    folder = tmp_path / "data"
    shutil.copytree(video_folder, folder)
    (folder / "val.csv").write_text("".join(f"{c}/{n}.mp4,{c}\n" for c in ("move_left", "shrink") for n in (0, 1)))
    (folder / "classes.txt").write_text("move_left\nmove_right\nshrink\n")
    return folder


@pytest.fixture
def model(model_folder, tmp_path):
    return shutil.copytree(model_folder, tmp_path / "m")


def content_of(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("option", ["--csv", "--page"])
@pytest.mark.parametrize(
    "name",
    ["data/val.csv", "data/../data/./val.csv", "data/classes.txt", "data/shrink/1.mp4", "m/config.json",
     "m/model.safetensors", "m/labels.txt", "soft.csv", "hard.csv", "link/val.csv"],
)  # fmt: skip
@pytest.mark.parametrize("more", [[], ["--overwrite"]])
def test_evaluate_replaces_nothing_that_it_reads(run, data, model, tmp_path, option, name, more):
    (tmp_path / "soft.csv").symlink_to(data / "val.csv")
    os.link(data / "shrink/0.mp4", tmp_path / "hard.csv")
    (tmp_path / "link").symlink_to(data)
    before = content_of(tmp_path)
    status, out, err = run(
        "evaluate", data / "val.csv", "--model", model, "--num-workers", 0, option, f"{tmp_path}/{name}", *more
    )
    assert (status, out) == (2, "")
    assert "is an input" in err or (not more and EXISTS in err)
    assert content_of(tmp_path) == before


def test_evaluate_replaces_its_own_files_only_when_told(run, data, model, tmp_path):
    files = tmp_path / "p.csv", model / "report.html"  # a new file may lie in the folder of the model
    command = ("evaluate", data, "--model", model, "--num-workers", 0, "--csv", files[0], "--page", files[1])
    assert run(*command)[0] == 0
    for file in files:
        file.write_text("mine")
    status, out, err = run(*command)
    assert (status, out) == (2, "")
    assert f"error: {files[0]}: {EXISTS}" in err
    assert [file.read_text() for file in files] == ["mine", "mine"]
    assert run(*command, "--overwrite")[0] == 0
    assert "mine" not in [file.read_text() for file in files]


def test_evaluate_writes_its_two_files_to_two_places(run, data, model, tmp_path):
    status, _, err = run("evaluate", data, "--model", model, "--csv", tmp_path / "a", "--page", tmp_path / "./a")
    assert status == 2
    assert "are the same file; choose two" in err


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "no_videos", "--overwrite"),
        ("bench", "cost", "--overwrite"),
        ("check", "no_videos", "--overwrite"),
    ],
)
def test_overwrite_without_a_file_to_write_has_no_effect(run, command):
    status, _, err = run(*command)
    assert status == 2
    assert "--overwrite has no effect without" in err


def test_sheet_replaces_nothing_unasked_and_nothing_that_is_read(run, data, model, tmp_path):
    config = tmp_path / "run.toml"
    config.write_text("epochs = 1\n[data]\nnum_workers = 0\n[model]\nimage_size = 16\npatch_size = 8\nnum_frames = 2\n")
    before = content_of(tmp_path)
    for start, file in (
        (("--config", config), config),
        (("--config", config), data / "val.csv"),
        (("--config", config), data / "shrink/0.mp4"),
        (("--init-from", model), model / "config.json"),
    ):
        status, _, err = run("train", data / "val.csv", *start, "--sheet", file, "--overwrite")
        assert status == 2
        assert "is an input" in err
    assert content_of(tmp_path) == before
    sheet = tmp_path / "sheet.png"
    assert run("train", data / "val.csv", "--config", config, "--sheet", sheet)[0] == 0
    status, _, err = run("train", data / "val.csv", "--config", config, "--sheet", sheet)
    assert status == 2
    assert f"{sheet}: {EXISTS}" in err
    assert run("train", data / "val.csv", "--config", config, "--sheet", sheet, "--overwrite")[0] == 0


def test_plot_of_a_benchmark_is_refused_before_it_is_measured(run, tmp_path, monkeypatch):
    monkeypatch.setattr("timesformer.cli.bench.import_module", lambda name: pytest.fail(f"{name} is imported"))
    (tmp_path / "plot.png").write_text("mine")
    for file, message in (
        (tmp_path / "plot.png", EXISTS),
        (tmp_path, "is a folder"),
        (tmp_path / "a/b", "does not exist"),
    ):
        status, _, err = run("bench", "cost", "--plot", file)
        assert status == 2
        assert message in err
    assert (tmp_path / "plot.png").read_text() == "mine"


def test_export_replaces_no_file_and_names_it_before_it_loads(run, tmp_path):
    (tmp_path / "m.onnx").write_text("mine")
    status, _, err = run("export", "no/model", "--output", tmp_path / "m.onnx")
    assert status == 2
    assert f"{tmp_path}/m.onnx: {EXISTS}" in err
    assert run("export", tmp_path / "m.onnx", "--output", tmp_path / "m.onnx", "--overwrite")[0] == 2
    assert (tmp_path / "m.onnx").read_text() == "mine"


def test_convert_does_not_replace_the_model_that_it_reads(run, model, tmp_path):
    labels = tmp_path / "hf/labels.txt"
    assert run("convert", model, tmp_path / "hf")[0] == 0
    (tmp_path / "link").symlink_to(model)
    before = content_of(tmp_path)
    for command in ((model, model), (model, tmp_path / "link"), (model, tmp_path / "hf", "--labels", labels)):
        status, _, err = run("convert", *command, "--overwrite")
        assert status == 2
        assert "is an input" in err
    assert content_of(tmp_path) == before


def test_convert_keeps_what_is_no_part_of_the_model_that_it_replaces(run, model, tmp_path):
    assert run("convert", model, tmp_path / "new")[0] == 0
    (tmp_path / "new/report.html").write_text("mine")
    (tmp_path / "new/.git").mkdir()
    assert run("convert", model, tmp_path / "new", "--overwrite")[0] == 0
    assert (tmp_path / "new/report.html").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["m", "new"]
    assert (tmp_path / "new/.git").is_dir()


def test_check_does_not_replace_the_list_that_it_reads(run, data, tmp_path):
    (data / "check.json").write_text('[{"id": "0", "label": "shrink"}]')
    (tmp_path / "clean.csv").symlink_to(data / "val.csv")
    before = content_of(tmp_path)
    for source, option, target in (
        (data / "val.csv", "--fix", data / "val.csv"),
        (data / "val.csv", "--fix", tmp_path / "clean.csv"),
        (data / "check.json", "--output", data),
    ):
        status, _, err = run("check", source, option, target, "--overwrite")
        assert status == 2
        assert "is an input" in err
    status, _, err = run("check", data / "val.csv", "--fix", tmp_path / "clean.xlsx")
    assert status == 2
    assert "a list must end with .csv, .txt, .tsv or .lst" in err
    assert content_of(tmp_path) == before


def test_shard_does_not_replace_the_list_that_it_reads(run, data, tmp_path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards/train.csv").symlink_to(data / "val.csv")
    status, _, err = run("shard", data / "val.csv", "--output", tmp_path / "shards", "--overwrite")
    assert status == 2
    assert "is an input" in err
    assert (tmp_path / "shards/train.csv").is_symlink()


def test_reproduce_replaces_its_own_result_and_no_other(run, tmp_path):
    command = ("reproduce", "cost", "--output", tmp_path)
    (tmp_path / "table.md").write_text("mine")
    status, _, err = run(*command)
    assert status == 2
    assert f"{tmp_path}/table.md: {EXISTS}" in err
    assert os.listdir(tmp_path) == ["table.md"]
    assert run(*command, "--overwrite")[0] == 0
    assert run(*command)[0] == 0  # the same result again
    with open(tmp_path / "table.md", "a") as table:
        table.write("\nA remark of mine.\n")
    status, _, err = run(*command)
    assert status == 2
    assert f"{tmp_path}/results.json, {tmp_path}/table.md, {tmp_path}/plot.png: {EXISTS}" in err
    assert "A remark of mine" in (tmp_path / "table.md").read_text()


def test_reproduce_does_not_replace_the_result_of_another_experiment_or_of_more_rows(run, tmp_path):
    tiny = ("--clips", 6, "--epochs", 1, "--device", "cpu", "--set", "model.embed_dim=12", "--set", "model.depth=1")
    command = ("reproduce", "schemes", *tiny, "--set", "model.num_heads=2", "--output", tmp_path)
    assert run(*command, "--schemes", "space_only,axial")[0] == 0
    for other in (("reproduce", "cost", "--output", tmp_path), (*command, "--schemes", "axial")):
        status, _, err = run(*other)
        assert status == 2
        assert EXISTS in err
    assert run(*command, "--schemes", "space_only,axial")[0] == 0


def test_reproduce_does_not_replace_the_config_that_it_reads(run, tmp_path):
    config = tmp_path / "results.json"
    config.write_text('{"epochs": 1}')
    status, _, err = run("reproduce", "schemes", "--config", config, "--output", tmp_path, "--overwrite")
    assert status == 2
    assert "is an input" in err


def test_demo_does_not_replace_a_page_that_it_did_not_write(run, tmp_path):
    (tmp_path / "index.html").write_text("mine")
    status, _, err = run("demo", "--output", tmp_path, "--clips-per-class", 1, "--epochs", 1)
    assert status == 2
    assert f"{tmp_path}/index.html: {EXISTS}" in err
    assert os.listdir(tmp_path) == ["index.html"]
    status, _, err = run("demo", "--output", tmp_path / "index.html", "--clips-per-class", 1)
    assert status == 2
    assert "is a file; choose a folder" in err


def test_results_are_written_to_a_pipe_or_a_device(run, data, model, tmp_path):
    command = ("evaluate", data, "--model", model, "--num-workers", 0)
    status, _, err = run(*command, "--csv", "/dev/null", "--page", "/dev/null")
    assert (status, err) == (0, "")


def test_numbers_are_printed_even_if_the_table_cannot_be_written(run, data, model, tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("timesformer.evaluation.result.replacing", refuse)
    status, out, err = run("evaluate", data, "--model", model, "--num-workers", 0, "--csv", tmp_path / "p.csv")
    assert status == 1
    assert "top-1" in out
    assert "p.csv: predictions cannot be written: No space left on device" in err


def test_training_does_not_overwrite_the_model_that_it_starts_from(run, data, model, tmp_path):
    small = ("--epochs", 1, "--device", "cpu", "--set", "data.num_workers=0")
    assert run("train", data, "--init-from", model, "--output", tmp_path / "run", *small)[0] == 0
    before = content_of(tmp_path / "run")
    for start in (tmp_path / "run", tmp_path / "run/model"):
        status, _, err = run("train", data, "--init-from", start, "--output", tmp_path / "run", *small, "--overwrite")
        assert status == 2
        assert "is an input" in err
    assert content_of(tmp_path / "run") == before
    assert run("train", data, "--init-from", model, "--output", tmp_path / "run", *small, "--overwrite")[0] == 0


def test_folder_behind_a_link_keeps_all_that_it_holds(run, model, tmp_path):
    assert run("convert", model, tmp_path / "real")[0] == 0
    (tmp_path / "real/report.html").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    before = content_of(tmp_path / "real")
    assert run("convert", model, tmp_path / "link", "--overwrite")[0] == 0
    assert content_of(tmp_path / "real") == before
