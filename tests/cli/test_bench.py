import json
from functools import partial

import pytest

from timesformer.bench import decode
from timesformer.bench.scenes import Scene
from timesformer.cli.main import main


def test_bench_decode_prints_what_it_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    scene = Scene(num_frames=14, height=40, width=56)
    monkeypatch.setattr(decode, "run", partial(decode.run, scene=scene, gops=(9,)))
    arguments = ["bench", "decode", "--preset", "tiny", "--rounds", "1", "--only", "whole decode"]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--json"])
    assert stop.value.code == 0
    assert json.loads(capsys.readouterr().out)["bench"] == "decode"
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    shown = capsys.readouterr().out
    assert stop.value.code == 0
    assert "GOP 9" in shown


@pytest.mark.parametrize("option", [("--device", "auto"), ("--precision", "bf16")])
def test_options_of_a_model_are_refused_where_none_runs(option: tuple[str, str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "decode", *option])
    assert stop.value.code == 2
    assert "--device and --precision have no effect on `bench decode`" in capsys.readouterr().err


def test_clips_are_refused_where_their_number_is_given(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "memory", "--clips", "2"])
    assert stop.value.code == 2
    assert "--clips has no effect on `bench memory`" in capsys.readouterr().err


def test_a_list_of_names_without_a_name_is_refused(run):
    status, _, err = run("bench", "memory", "--only", ",")
    assert status == 2
    assert "--only ',' names nothing; separate names by commas" in err
