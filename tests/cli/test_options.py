"""What options mean on every verb: groups in --help, short forms, aliases, lists, and how much is said."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from timesformer.cli.main import VERBS
from timesformer.config.compute import ComputeOptions
from timesformer.data.synthetic.motion import MOTION_CLASSES
from timesformer.weights.load import load

GROUPS = [
    "Arguments",
    "Server",
    "Data",
    "Model",
    "Optimization",
    "Head on stored features",
    "Compute",
    "Limits",
    "Output",
    "Batch job",
    "Analysis",
    "Global options",
]
SMALL = ("--clips-per-class", 1, "--val-clips-per-class", 1, "--size", 16, "--num-frames", 4)
WITH_OUTPUT = ("demo", "check", "train", "export", "convert", "reproduce", "shard", "synth")


def help_of(run, *verb):
    status, out, _ = run(*verb, "--help")
    assert status == 0
    return out


def folded(text):
    """Words of a help text, without borders and line ends."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())


# --- Help -----------------------------------------------------------------------------------------------------------


def test_verbs_are_listed_in_the_order_of_work(run):
    listed = re.findall(r"^│ (\w+) ", help_of(run), re.MULTILINE)
    assert listed == list(VERBS)
    assert listed[:7] == ["demo", "check", "train", "evaluate", "predict", "embed", "search"]


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "bench"])
def test_the_line_of_a_verb_is_the_first_line_of_its_help(run, verb):
    out = help_of(run, verb)
    assert VERBS[verb] in out
    assert out.startswith(f"Usage: timesformer {verb}")


def test_every_verb_is_described_in_one_line_of_80_columns(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line for line in help_of(run).splitlines() if line.startswith("│")]
    assert len(lines) == len(VERBS) + 4  # and the global options


@pytest.mark.parametrize("verb", VERBS)
def test_options_of_every_verb_are_in_groups(run, verb):
    titles = re.findall(r"╭─ ([A-Z][\w ]*?) ─", help_of(run, verb))
    assert titles[-1] == "Global options"
    if verb != "bench":
        assert [title for title in GROUPS if title in titles] == titles
        assert len(titles) > 2 or verb == "info"


@pytest.mark.parametrize(
    ("verb", "shown"),
    [
        ("synth", "--classes NAME,... Motions to write. [default: all 12]"),
        ("evaluate", "[default: 1,5]"),
        ("predict", "[default: 5]"),
        ("predict", "-m, --model MODEL"),
        ("convert", "-o, --output PATH"),
        ("evaluate", "--no-fast"),
        ("train", "-q, --quiet"),
    ],
)
def test_names_and_defaults_are_shown_as_they_are_typed(run, verb, shown):
    assert shown in folded(help_of(run, verb))


def test_old_spellings_are_not_shown(run):
    assert "--sheet" not in help_of(run, "train")
    assert "--preview" in help_of(run, "train")
    assert " --fast" not in help_of(run, "predict")
    assert "TARGET" not in help_of(run, "convert")


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_every_compute_option_that_a_verb_uses_is_an_option(run, verb):
    out = help_of(run, verb)
    named = {"fast": "--no-fast", "allow_codecs": "--allow-codec"}
    for name in ComputeOptions.__dataclass_fields__:
        option = named.get(name, f"--{name.replace('_', '-')}")
        assert (option in out) == (verb == "evaluate" or name not in ("num_workers", "on_error"))


# --- Output and model -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", WITH_OUTPUT)
def test_every_verb_with_an_output_has_its_short_form(run, verb):
    assert "-o, --output PATH" in help_of(run, verb)


def test_synth_writes_to_its_output_in_any_spelling(run, tmp_path):
    for number, spelling in enumerate((("-o",), ("--output",), ())):
        folder = tmp_path / str(number)
        status, out, _ = run("synth", *spelling, folder, *SMALL, "--classes", "grow")
        assert (status, out) == (0, f"{folder}\n")
        assert len(list((folder / "train/grow").iterdir())) == 1


def test_convert_writes_to_its_output_in_any_spelling(run, model_folder, tmp_path):
    for number, spelling in enumerate((("-o",), ("--output",), ())):
        assert run("convert", model_folder, *spelling, tmp_path / str(number))[0] == 0
        assert load(tmp_path / str(number)).info.labels == load(model_folder).info.labels
    assert run("convert", "-o", tmp_path / "first", model_folder)[0] == 0


@pytest.mark.parametrize("command", [("convert", "model"), ("synth",), ("export", "model"), ("shard", "videos")])
def test_an_output_that_is_needed_is_asked_for(run, command):
    status, out, err = run(*command)
    assert (status, out) == (2, "")
    assert "--output" in folded(err)


def test_an_output_given_twice_is_wrong_usage(run, model_folder, tmp_path):
    assert run("convert", model_folder, tmp_path / "a", "-o", tmp_path / "b")[0] == 2
    assert not list(tmp_path.iterdir())


def test_check_and_shard_have_the_short_form(run, video_folder, tmp_path):
    assert run("check", video_folder, "--num-frames", 6, "-o", tmp_path / "check")[0] in (0, 1)
    assert (tmp_path / "check/index.html").exists()
    assert run("shard", video_folder, "-o", tmp_path / "shards")[0] == 0
    assert (tmp_path / "shards/train.csv").exists()


def test_a_model_is_named_in_the_same_way_by_every_verb(run, model_folder, video_folder):
    described = run("info", model_folder, "--json")[1]
    for option in ("-m", "--model"):
        assert run("info", option, model_folder, "--json")[1] == described
    assert run("predict", video_folder, "-m", model_folder)[0] == 0
    assert run("evaluate", video_folder, "-m", model_folder, "--num-workers", 0)[0] == 0
    assert "cost" in json.loads(run("info", "-m", "tiny", "--json")[1])


def test_export_reads_its_model_by_position_or_by_name(run, tmp_path):
    for arguments in (("no/model",), ("-m", "no/model"), ("--model", "no/model")):
        status, _, err = run("export", *arguments, "-o", tmp_path / "m.onnx")
        assert (status, err.startswith("error: no/model")) == (1, True)


def test_train_fine_tunes_the_weights_that_are_its_model(run, model_folder, video_folder):
    runs = [
        json.loads(run("train", video_folder, *start, "--dry-run", "--json")[1])["run"]
        for start in (("-m", model_folder), ("--model", model_folder), ("--init-from", model_folder), ("-m", "tiny"))
    ]
    assert runs[0] == runs[1] == runs[2]
    assert (runs[0]["init_from"], runs[3]["init_from"]) == (str(model_folder), "")


def test_train_takes_weights_from_its_model_beside_a_config(run, model_folder, video_folder, tmp_path):
    config = tmp_path / "run.toml"
    config.write_text("epochs = 2\n")
    runs = [
        json.loads(run("train", "--config", config, option, model_folder, "--dry-run", "--json")[1])["run"]
        for option in ("--model", "--init-from")
    ]
    assert runs[0] == runs[1]
    assert (runs[0]["epochs"], runs[0]["init_from"]) == (2, str(model_folder))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "smal"), "--model 'smal' is neither a preset (base, hr,"),
        (("--model", "smal"), "did you mean 'small'?"),
        (("--model", "MODEL", "--init-from", "x"), "has no effect with --init-from: give the weights once"),
        (("--model", "MODEL", "--set", "init_from=x"), "has no effect with --init-from: give the weights once"),
        (("--model", "tiny", "--set", "init_from=x"), "--model tiny has no effect with --config or --init-from"),
    ],
)
def test_train_refuses_a_model_that_means_nothing(run, video_folder, model_folder, arguments, message):
    given = [model_folder if argument == "MODEL" else argument for argument in arguments]
    status, _, err = run("train", video_folder, *given, "--dry-run")
    assert status == 2
    assert message in err


def test_preview_is_the_name_of_sheet(run, video_folder, tmp_path):
    small = ("--model", "tiny", "--set", "data.num_workers=0")
    for option in ("--preview", "--sheet"):
        file = tmp_path / f"{option}.png"
        status, out, _ = run("train", video_folder, *small, option, file, "--json")
        assert status == 0
        assert json.loads(out) == {"preview": str(file), "sheet": str(file)}
        assert file.exists()


# --- Lists ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelling",
    [("--classes", "grow,shrink"), ("--classes", "grow", "--classes", "shrink"), ("--classes", "grow", "shrink")],
)
def test_classes_have_commas_or_are_repeated(run, tmp_path, spelling):
    assert run("synth", "-o", tmp_path, *SMALL, *spelling)[0] == 0
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == ["grow", "shrink"]


def test_all_classes_are_the_default(run, tmp_path):
    status, out, _ = run("synth", tmp_path, *SMALL, "--json")
    assert status == 0
    assert tuple(json.loads(out)["classes"]) == MOTION_CLASSES


@pytest.mark.parametrize("spelling", [("--top-k", "1,2"), ("--top-k", "1", "--top-k", "2"), ("--top-k=1, 2",)])
def test_top_k_of_evaluate_has_commas_or_is_repeated(run, model_folder, video_folder, spelling):
    status, out, _ = run("evaluate", video_folder, "-m", model_folder, "--num-workers", 0, "--json", *spelling)
    assert status == 0
    assert list(json.loads(out)["top_k"]) == ["1", "2"]


def test_top_k_of_predict_is_one_number(run, model_folder, video_folder):
    status, out, _ = run("predict", video_folder, "-m", model_folder, "--top-k", 1)
    assert (status, out.count("%")) == (0, 6)
    for several in (("--top-k", "1,5"), ("--top-k", "1", "--top-k", "5")):
        status, out, err = run("predict", video_folder, "-m", model_folder, *several)
        assert (status, out) == (2, "")
        assert err == "error: --top-k 1,5: predict shows one list of classes; give the largest k alone\n"


@pytest.mark.parametrize("given", ["x", "1,,5", "0", "1.5", "-1"])
@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_top_k_that_is_not_a_number_is_refused(run, video_folder, verb, given):
    status, out, err = run(verb, video_folder, f"--top-k={given}")
    assert (status, out) == (2, "")
    assert f"--top-k {given!r} is not a list of whole numbers from 1, such as 1,5,10" in err


@pytest.mark.parametrize("spelling", [("magicyuv,nosuch",), ("magicyuv", "--allow-codec", "nosuch")])
@pytest.mark.parametrize("verb", ["predict", "evaluate", "check", "train"])
def test_codecs_have_commas_or_are_repeated(run, model_folder, video_folder, verb, spelling):
    model = ("-m", model_folder) if verb in ("predict", "evaluate") else ()
    status, _, err = run(verb, video_folder, *model, "--allow-codec", *spelling)
    assert status == 2
    assert "nosuch" in err
    assert "magicyuv," not in err


@pytest.mark.parametrize(
    "spelling",
    [
        ("--schemes", "axial,sparse_local_global"),
        ("--schemes", "axial", "--schemes", "sparse_local_global"),
    ],
)
def test_schemes_have_commas_or_are_repeated(run, spelling):
    status, out, _ = run("reproduce", "schemes", "--dry-run", "--json", *spelling)
    assert status == 0
    assert [plan["name"] for plan in json.loads(out)["trainings"]] == ["axial", "sparse_local_global"]


def test_values_of_set_may_hold_commas(run):
    status, out, _ = run("info", "tiny", "--set", "image_size=[32,48]", "--set", "num_frames=4", "--json")
    assert status == 0
    assert json.loads(out)["model"]["image_size"] == [32, 48]


def test_old_spellings_of_values_are_read(run, model_folder, video_folder):
    command = ("evaluate", video_folder, "-m", model_folder, "--num-workers", 0, "--json", "--sampling")
    assert run(*command, "centre")[:2] == run(*command, "center")[:2]
    status, _, err = run(*command, "middle")
    assert status == 2
    assert "'middle' is not one of dense, center, segment, uniform, coverage" in folded(err)
    schemes = ("reproduce", "schemes", "--dry-run", "--json", "--schemes", "sparse_local_global_centred")
    status, _, err = run(*schemes)
    assert "sparse_local_global_centered" in err  # no arm of the experiment, by its name of today


# --- Quiet and verbose ----------------------------------------------------------------------------------------------


def command_line(*arguments):
    """Run in a process of its own, where the log goes to stderr."""
    command = [sys.executable, "-m", "timesformer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("option", ["-q", "--quiet"])
def test_quiet_leaves_out_notes_and_keeps_results(run, model_folder, tmp_path, option):
    status, out, err = run("convert", model_folder, "-o", tmp_path / "a")
    assert (status, out) == (0, f"{tmp_path}/a\n")
    assert "tensors loaded unchanged" in err
    assert run("convert", model_folder, "-o", tmp_path / "b", option) == (0, f"{tmp_path}/b\n", "")
    assert run(option, "convert", model_folder, "-o", tmp_path / "c") == (0, f"{tmp_path}/c\n", "")


def test_quiet_keeps_errors(run, model_folder, video_folder, tmp_path):
    (tmp_path / "bad.mp4").write_text("not a video")
    status, out, err = run("predict", tmp_path / "bad.mp4", video_folder, "-m", model_folder, "-q")
    assert status == 1
    assert out.count(".mp4") == 6
    assert err.startswith(f"error: {tmp_path}/bad.mp4: ")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_quiet_and_verbose(run, verb):
    status, out, err = run(verb, "--quiet", "-v", "anything")
    assert (status, out) == (2, "")
    assert err == "error: --quiet and --verbose contradict each other: give one of them\n"


def test_verbose_shows_the_notes_of_the_library(model_folder, video_folder):
    video = video_folder / "shrink/0.mp4"
    plain, verbose = (command_line("predict", video, "-m", model_folder, *more) for more in ((), ("-v",)))
    assert (plain.returncode, plain.stderr) == (0, "")
    assert verbose.stdout == plain.stdout
    assert "tensors loaded unchanged" in verbose.stderr
    assert command_line("predict", video, "-m", model_folder, "-vv").returncode == 0


def test_quiet_training_says_nothing(video_folder, tmp_path):
    tiny = ("--set", "model.embed_dim=12", "--set", "model.depth=1", "--set", "model.num_heads=2", "--epochs", 1)
    fast = ("--model", "tiny", "--device", "cpu", "--set", "data.num_workers=0", *tiny)
    done = command_line("train", video_folder, *fast, "-o", tmp_path / "run", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path}/run\n", "")


@pytest.mark.parametrize(("more", "is_shown"), [((), True), (("-q",), False)])
def test_a_progress_bar_is_on_a_terminal_only_and_not_when_quiet(tmp_path: Path, more, is_shown):
    reader, terminal = pty.openpty()
    command = [sys.executable, "-m", "timesformer", "synth", tmp_path, *SMALL, "--classes", "grow", *more]
    done = subprocess.run([str(part) for part in command], stderr=terminal, stdout=subprocess.PIPE, check=True)
    os.close(terminal)
    assert done.stdout.decode() == f"{tmp_path}\n"
    shown = b""
    try:
        while piece := os.read(reader, 4096):
            shown += piece
    except OSError:  # the other end is closed
        pass
    os.close(reader)
    assert (b"writing" in shown) == is_shown


def test_levels_of_the_log_are_as_before_after_a_command(run, video_folder):
    import logging

    before = [logging.getLogger(name).level for name in ("timesformer", "timesformer.cli", "timesformer.training")]
    run("info", "tiny", "-vv")
    run("info", "tiny", "-q")
    after = [logging.getLogger(name).level for name in ("timesformer", "timesformer.cli", "timesformer.training")]
    assert after == before
