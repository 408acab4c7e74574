"""`timesformer bench explain`, end to end with tiny models."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from timesformer.bench import explain, explain_table
from timesformer.bench.explain_measures import Mean
from timesformer.bench.explain_methods import METHODS, NULL_MAPS
from timesformer.bench.explain_models import LESSONS, Lesson, config_of, trained_model
from timesformer.bench.explain_result import ExplainResult, Row, Table
from timesformer.bench.explain_table import draw_examples, redraw_blocks
from timesformer.cli.main import main
from timesformer.errors import ConfigError, DataError
from timesformer.model.timesformer import TimeSformer


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(explain_table, "SANITY_CLIPS", 2)
    monkeypatch.setattr(explain_table, "FAITHFUL_CLIPS", 3)
    monkeypatch.setitem(LESSONS, "where", Lesson(num_frames=2, steps=50, clips=64, size=32))
    monkeypatch.setitem(LESSONS, "when", Lesson(num_frames=3, steps=10, clips=64, size=32))


@pytest.fixture
def run(capsys):
    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["bench", "explain", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return stop.value.code or 0, out, err

    return call


@pytest.mark.slow  # 15 seconds: a model is trained on planted evidence
def test_methods_and_null_maps_of_one_scheme_are_measured_and_models_are_reused(run, tmp_path: Path):
    models, output = tmp_path / "models", tmp_path / "result.json"
    asked = ("--schemes", "space_only", "--clips", 8, "--models", models, "--output", output)
    status, shown, _ = run(*asked, "--methods", "contribution,occlusion")
    assert status == 0
    assert all(text in shown for text in ("where, space_only: accuracy", "when, space_only", "null: random", "goals"))
    result = json.loads(output.read_text("utf-8"))
    assert [(table["scheme"], table["evidence"]) for table in result["tables"]] == [
        ("space_only", "where"),
        ("space_only", "when"),
    ]
    names = ["contribution", "occlusion", *NULL_MAPS]
    assert [row["name"] for row in result["tables"][0]["rows"]] == list(result["summary"]) == names
    for table in result["tables"]:
        assert 0 < table["explained"] <= table["correct"] <= table["drawn"] == 8
        assert table["rows"][0]["pointing"]["clips"] == table["explained"]
        assert table["rows"][0]["redrawn"]["clips"] == min(table["explained"], 2)
        assert table["rows"][-1]["deletion"]["clips"] == min(table["explained"], 3)
        assert "redrawn" not in table["rows"][-1]
    assert result["machine"]["torch"]
    assert sorted(path.name for path in models.iterdir()) == ["space_only-when", "space_only-where"]

    stamp = (models / "space_only-where" / "model.safetensors").stat().st_mtime_ns
    status, printed, _ = run(*asked, "--methods", "contribution", "--json", "--overwrite")
    assert status == 0
    again = json.loads(printed)
    assert (models / "space_only-where" / "model.safetensors").stat().st_mtime_ns == stamp
    mass = [tables["tables"][0]["rows"][0]["mass"]["mean"] for tables in (result, again)]
    assert mass[0] == pytest.approx(mass[1], abs=1e-6)


def test_every_method_gives_a_map_of_the_grid():
    torch.manual_seed(0)
    for scheme in explain.PAPER_SCHEMES:
        model = TimeSformer(config_of(scheme, "when")).eval()
        clip = torch.randn(3, 3, 32, 32)
        for name, method in METHODS.items():
            found = method(model, clip, 2)
            assert found.shape == (3, 4, 4), (scheme, name)
            assert found.min() >= 0
            assert np.isfinite(found).all()


def test_a_model_trained_otherwise_is_not_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(LESSONS, "where", Lesson(num_frames=3, steps=1, clips=4, size=32))
    cpu = torch.device("cpu")
    trained_model("space_only", "where", folder=tmp_path, start=None, device=cpu)
    monkeypatch.setitem(LESSONS, "where", Lesson(num_frames=3, steps=2, clips=4, size=32))
    with pytest.raises(ConfigError, match=r"space_only-where: was trained otherwise \(timesformer bench explain: 1 st"):
        trained_model("space_only", "where", folder=tmp_path, start=None, device=cpu)


def test_blocks_are_drawn_anew_and_the_rest_stays():
    model = TimeSformer(config_of("axial", "where"))
    before, after = model.state_dict(), redraw_blocks(model, seed=3).state_dict()
    assert all(name.startswith("blocks.") or torch.equal(before[name], after[name]) for name in before)
    assert not torch.equal(before["blocks.0.mlp.fc1.weight"], after["blocks.0.mlp.fc1.weight"])


def test_clips_without_a_deciding_object_are_an_error():
    model = TimeSformer(config_of("space_only", "where")).eval()
    with torch.no_grad():
        model.head.weight.zero_()
    with pytest.raises(DataError, match="in none of 3 clips of 'where' does the evidence decide"):
        draw_examples("where", count=3, model=model, device=torch.device("cpu"))


def test_a_method_meets_the_goals_if_its_worst_model_does():
    def table(mass: float) -> Table:
        values = {"pointing": 1.0, "mass": mass, "ratio": 20.0, "frame": 1.0, "redrawn": 0.1}
        measures = {name: Mean(mean=value, low=value, high=value, num_clips=3) for name, value in values.items()}
        row = Row(name="class", is_null=False, measures=measures, milliseconds=1.0)
        return Table(
            scheme="axial", evidence="when", num_drawn=4, num_correct=4, num_explained=3, share=0.01, rows=(row,)
        )

    good, bad = (
        ExplainResult(tables=(table(0.9), table(mass)), settings={}, seconds=1.0).summary()["class"]
        for mass in (0.7, 0.5)
    )
    assert good["meets_goals"]
    assert not bad["meets_goals"]
    assert good["mean"]["mass"] == pytest.approx(0.8)
    assert bad["least"] == {"pointing": 1.0, "mass": 0.5, "ratio": 20.0, "frame": 1.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--schemes", "axail"), "schemes: 'axail' is not one of"),
        (("--methods", "lrp"), "methods: 'lrp' is not one of 'attention', 'rollout'"),
        (("--clips", 0), "clips=0 must be at least 1"),
        (("--rounds", 3), "--rounds has no effect on `bench explain`"),
        (("--model", "tiny"), "--model has no effect on `bench explain`"),
        (("--overwrite",), "--overwrite has no effect on `bench explain` without --output"),
        (("--output", "no/such/result.json"), "the folder no/such does not exist"),
    ],
)
def test_bad_arguments_are_refused(run, arguments: tuple[object, ...], message: str):
    status, _, err = run(*arguments)
    assert status == 2
    assert message in " ".join(err.split())


@pytest.mark.parametrize("option", [("--schemes", "axial"), ("--models", "x"), ("--output", "x.json")])
def test_options_of_explain_are_refused_elsewhere(capsys, option: tuple[str, str]):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "cost", *option])
    assert stop.value.code == 2
    assert f"{option[0]} has no effect on `bench cost`" in capsys.readouterr().err
