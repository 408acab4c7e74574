import json
import subprocess
import sys

import pytest
import torch

from timesformer.cli.main import VERBS
from timesformer.model.schemes import SCHEMES
from timesformer.weights.load import load


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(run, verb):
    status, out, _ = run(verb, "--help")
    assert status == 0
    assert f"Example: timesformer {verb}" in " ".join(out.split())
    assert "[default: ]" not in out


def test_help_lists_every_verb(run):
    status, out, _ = run("--help")
    assert status == 0
    assert all(verb in out for verb in VERBS)


def test_the_command_is_installed_and_shows_its_version():
    done = subprocess.run(
        [sys.executable, "-m", "timesformer", "--version"], capture_output=True, text=True, check=True
    )
    from timesformer import __version__

    assert done.stdout.strip() == __version__


def test_an_unknown_verb_and_an_unknown_option_are_wrong_usage(run):
    assert run("pedict", "x")[0] == 2
    assert run("predict", "x", "--modle", "y")[0] == 2


def test_info_prints_the_papers_numbers(run):
    status, out, _ = run("info", "--json")
    content = json.loads(out)
    assert status == 0
    parameters = {row["scheme"]: round(row["parameters"] / 1e6, 1) for row in content["schemes"]}
    assert [parameters[name] for name in ("space_only", "joint_space_time", "divided_space_time")] == [
        85.9,
        85.9,
        121.4,
    ]
    assert [parameters[name] for name in ("sparse_local_global", "axial")] == [121.4, 156.8]
    assert [round(row["tmacs_of_3_views"], 2) for row in content["models"]] == [0.59, 5.11, 7.14]


def test_info_of_a_model_folder_shows_labels_and_license(run, model_folder):
    status, out, _ = run("info", model_folder)
    assert status == 0
    assert "move_left, move_right, shrink" in out
    assert "MIT" in out
    content = json.loads(run("info", model_folder, "--json")[1])
    assert content["model"]["image_size"] == [16, 24]
    assert content["clip"]["sampling"] == "uniform"


def test_info_of_a_preset_takes_overrides(run):
    content = json.loads(run("info", "base", "--set", "scheme=axial", "--set", "num_classes=174", "--json")[1])
    assert content["cost"]["parameters"] == 156_846_510


def test_convert_there_and_back_keeps_every_weight_and_the_labels(run, model_folder, tmp_path):
    square = tmp_path / "square"
    assert run("convert", model_folder, square, "--set", "image_size=16")[0] == 0
    status, out, err = run("convert", square, tmp_path / "hf", "--to", "transformers", "--json")
    assert status == 0
    assert json.loads(out)["layout"] == "transformers"
    assert "tensors loaded unchanged" in err
    assert run("convert", tmp_path / "hf", tmp_path / "back")[0] == 0
    first, last = load(square), load(tmp_path / "back")
    assert last.info.labels == ("move_left", "move_right", "shrink")
    for name, tensor in first.state_dict().items():
        torch.testing.assert_close(last.state_dict()[name], tensor, rtol=0, atol=0)


def test_convert_does_not_overwrite_unless_told(run, model_folder, tmp_path):
    assert run("convert", model_folder, tmp_path / "m")[0] == 0
    status, _, err = run("convert", model_folder, tmp_path / "m")
    assert status == 2
    assert "already exists; pass overwrite=True (--overwrite)" in err
    assert run("convert", model_folder, tmp_path / "m", "--overwrite")[0] == 0


def test_convert_takes_labels_from_a_file_and_checks_their_number(run, model_folder, tmp_path):
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    assert run("convert", model_folder, tmp_path / "m", "--labels", tmp_path / "names.txt")[0] == 0
    assert load(tmp_path / "m").info.labels == ("a", "b", "c")
    (tmp_path / "names.txt").write_text("a\nb\n")
    status, _, err = run("convert", model_folder, tmp_path / "n", "--labels", tmp_path / "names.txt")
    assert status == 2
    assert "has 2 names, the model has num_classes=3" in err


def test_evaluate_counts_every_video_once_and_writes_table_and_page(run, model_folder, video_folder, tmp_path):
    status, out, _ = run(
        "evaluate", video_folder, "--model", model_folder, "--num-workers", 0, "--csv", tmp_path / "p.csv",
        "--page", tmp_path / "p.html", "--json",
    )  # fmt: skip
    content = json.loads(out)
    assert status == 0
    assert content["num_videos"] == 6
    assert content["top5"] == 1.0  # all of three classes
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 7
    page = (tmp_path / "p.html").read_text()
    assert page.count("<figure>") == 6
    assert "http" not in page  # stands alone


def test_evaluate_prints_its_protocol(run, model_folder, video_folder):
    status, out, _ = run("evaluate", video_folder, "--model", model_folder, "--num-workers", 0)
    assert status == 0
    assert "uniform 2" in out
    assert "16x24" in out


def test_synth_writes_the_classes_asked_for_and_refuses_others(run, tmp_path):
    arguments = ("--clips-per-class", 1, "--val-clips-per-class", 1, "--size", 16, "--num-frames", 4)
    status, _, _ = run("synth", tmp_path / "s", *arguments, "--classes", "grow", "shrink")
    assert status == 0
    assert sorted(path.name for path in (tmp_path / "s" / "train").iterdir()) == ["grow", "shrink"]
    status, _, err = run("synth", tmp_path / "t", *arguments, "--classes", "grwo")
    assert status == 2
    assert "grow" in err


def test_train_takes_architecture_and_clips_from_the_weights_it_starts_from(run, model_folder, video_folder, tmp_path):
    status, out, _ = run(
        "train", video_folder, "--init-from", model_folder, "--output", tmp_path / "run", "--epochs", 1,
        "--device", "cpu", "--set", "data.num_workers=0",
    )  # fmt: skip
    assert status == 0
    trained = load(out.strip())
    assert trained.config.image_size == (16, 24)
    assert trained.info.clip.sampling == "uniform"
    assert trained.info.labels == ("move_left", "move_right", "shrink")
    assert trained.info.source in (f"linear probe of {model_folder}", f"fine-tuned from {model_folder}")


@pytest.mark.parametrize("other", ["--config", "--init-from"])
def test_train_refuses_a_preset_that_would_have_no_effect(run, video_folder, other):
    status, _, err = run("train", video_folder, "--model", "tiny", other, "somewhere.toml")
    assert status == 2
    assert "--model tiny has no effect" in err


def test_train_refuses_validation_without_training_videos(run, video_folder):
    status, _, err = run("train", "--val", video_folder)
    assert status == 2
    assert "needs training videos" in err


def test_info_names_every_scheme_whole_on_a_narrow_terminal(run):
    _, out, _ = run("info")
    assert all(name in out for name in SCHEMES)
    assert "…" not in out


def test_info_with_a_field_alone_is_of_the_base_model(run):
    status, out, _ = run("info", "--set", 'scheme=[["space"],["width"]]', "--json")
    content = json.loads(out)
    assert status == 0
    assert content["model"]["scheme"] == [["space"], ["width"]]
    assert content["model"]["embed_dim"] == 768


@pytest.mark.parametrize(
    ("scheme", "layout"), [("divided_space_time", "frames: every step"), ("axial", "sequences: every step")]
)
def test_info_tells_the_layout_of_tokens_in_fast_inference(run, scheme, layout):
    _, out, _ = run("info", "base", "--set", f"scheme={scheme}")
    assert f"layout {layout}" in out


def test_a_field_is_checked_against_the_model_that_has_it(run):
    assert run("info", "tiny", "--set", "image_size=40")[0] == 0  # patches of 8; the default model has 16
    status, _, err = run("info", "tiny", "--set", "image_size=44")
    assert status == 2
    assert "is not a multiple of patch_size=8" in err


@pytest.mark.parametrize("option", ["--csv", "--page"])
def test_evaluate_refuses_a_file_that_cannot_be_written_before_it_evaluates(run, tmp_path, option):
    for file, reason in ((tmp_path, "is a folder"), (tmp_path / "no" / "x", "does not exist")):
        status, _, err = run("evaluate", "no_videos", "--model", "no/model", option, file)
        assert status == 2
        assert reason in err


def test_a_place_that_cannot_be_written_is_one_line(run, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = run("synth", tmp_path / "file" / "below", "--clips-per-class", 1)
    assert status == 1
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1


def test_demo_refuses_what_would_have_no_effect(run, video_folder, tmp_path):
    status, _, err = run("demo", "--data", video_folder, "--clips-per-class", 3, "--output", tmp_path / "run")
    assert status == 2
    assert "--clips-per-class 3 has no effect" in err
    status, _, err = run("demo", "--data", video_folder, "--epochs", 0, "--output", tmp_path / "run")
    assert status == 2
    assert "epochs=0 must be greater than 0" in err


def test_convert_does_not_write_the_released_file_over_a_folder(run, model_folder, tmp_path):
    square = tmp_path / "square"
    assert run("convert", model_folder, square, "--set", "image_size=16")[0] == 0
    status, _, err = run("convert", square, tmp_path, "--to", "released", "--overwrite")
    assert status == 1
    assert "is a folder; the released layout is a single file" in err


def test_train_keeps_the_validation_of_its_config_beside_other_training_videos(run, video_folder, tmp_path):
    (tmp_path / "run.toml").write_text('[data]\nval = "no/such/folder"\n')
    status, _, err = run("train", video_folder, "--config", tmp_path / "run.toml", "--output", tmp_path / "run")
    assert status == 1
    assert "no/such/folder does not exist" in err


@pytest.mark.parametrize("verb", ["train", "demo"])
def test_without_the_extra_for_training_one_line_says_how_to_get_it(verb):
    code = (
        "import sys; sys.modules['lightning'] = None; from timesformer.cli.main import main; "
        f"main(['{verb}', '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: training needs lightning: pip install 'timesformer[train]'\n"
