import json

import pytest

SMALL = ("bench", "model", "--rounds", 1, "--only", "ours block by block")


@pytest.mark.parametrize("name", ["--model", "--preset"])
def test_bench_prints_a_table_or_json(run, name: str):
    status, shown, _ = run(*SMALL, name, "tiny")
    assert status == 0
    assert all(text in shown for text in ("speedup", "max diff", "ours block by block", "GMAC/s"))
    status, printed, _ = run(*SMALL, name, "tiny", "--json")
    assert status == 0
    result = json.loads(printed)
    assert (result["bench"], result["settings"]["preset"]) == ("model", "tiny")


@pytest.mark.parametrize("name", ["decode", "loader"])
def test_benchmarks_of_readers_are_named_as_scripts(run, name: str):
    status, _, err = run("bench", name, "--only", "decord")
    assert status == 2
    assert f"`bench {name}` is a script: run `python benchmarks/{name}.py` in a checkout of the source" in err


def test_an_unknown_benchmark_is_refused(run):
    status, _, err = run("bench", "modle")
    assert status == 2
    assert "bench 'modle' is not one of 'model', 'memory', 'train', 'predict', 'cost', 'explain'" in err


@pytest.mark.parametrize("option", [("--device", "auto"), ("--precision", "bf16")])
def test_device_and_precision_are_refused_if_they_have_no_effect(run, option: tuple[str, str]):
    status, _, err = run("bench", "predict", *option)
    assert status == 2
    assert "--device and --precision have no effect on `bench predict`" in err


def test_clips_are_refused_if_they_have_no_effect(run):
    status, _, err = run("bench", "predict", "--clips", 2)
    assert status == 2
    assert "--clips has no effect on `bench predict`" in err


def test_a_list_of_names_without_a_name_is_refused(run):
    status, _, err = run("bench", "memory", "--only", ",")
    assert status == 2
    assert "only='' is not one of" in err
