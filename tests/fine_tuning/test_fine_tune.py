"""`fine_tune` from end to end: both models, the better one, resumption, what is refused."""

import csv
import json
import shutil
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from probed_runs import CLASSES, make_run
from timesformer.config.io import read_config
from timesformer.config.run import DataConfig, RunConfig
from timesformer.data.manifest.manifest import Manifest
from timesformer.errors import ConfigError, DataError, DecodeError
from timesformer.evaluation.evaluate import evaluate
from timesformer.fine_tuning import features as features_module
from timesformer.fine_tuning import run as run_module
from timesformer.fine_tuning.folder import ProbeFolder
from timesformer.fine_tuning.result import FineTuned
from timesformer.fine_tuning.run import fine_tune
from timesformer.inference.predictor import Predictor
from timesformer.training.dataloaders import Split, load_data
from timesformer.training.train import train
from timesformer.weights.load import load
from training_runs import Stopped, are_equal, quiet, raise_at, weights_of


@pytest.fixture(autouse=True)
def _plain_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip drawing the curve, which takes longer than a tiny run and is tested elsewhere."""
    monkeypatch.setattr("timesformer.training.callbacks.draw_curve", lambda history, path: path.touch())


@pytest.fixture(autouse=True, scope="module")
def _two_strengths() -> Generator[None]:
    """Compare two penalties, not eleven, whose fits take longer than all the rest of a tiny run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("timesformer.fine_tuning.probe.STRENGTHS", (0.1, 1.0))
        yield


@pytest.fixture(scope="module")
def finished(persons: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, FineTuned]:
    """A finished run; tests only read it."""
    run = make_run(persons, weights, tmp_path_factory.mktemp("finished") / "run")
    return run, fine_tune(run, on_message=quiet)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of views of each call of the frozen model."""
    counts: list[int] = []
    encode = Predictor.encode

    def counting(self: Predictor, clips: Any, **options: Any) -> Any:
        counts.append(len(clips))
        return encode(self, clips, **options)

    monkeypatch.setattr(Predictor, "encode", counting)
    return counts


# --- What it measures and writes ------------------------------------------------------------------------------------


def test_the_probe_is_evaluated_as_evaluate_does(finished: tuple[RunConfig, FineTuned]):
    run, result = finished
    videos = load_data(run.data, seed=run.seed).val
    again = evaluate(str(result.probe.model), videos, num_workers=0, device="cpu")
    found = result.probe.evaluation
    assert again.protocol == found.protocol == "segment 3, 1 clip x 3 crops of 8x20, softmax fusion"
    assert [video.predicted for video in again.predictions] == [video.predicted for video in found.predictions]
    torch.testing.assert_close(
        [video.true_probability for video in again.predictions],
        [video.true_probability for video in found.predictions],
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip
    assert again.top1_interval == found.top1_interval


def test_only_the_head_of_the_probe_differs_from_the_weights(finished: tuple[RunConfig, FineTuned]):
    run, result = finished
    probe, source = load(result.probe.model), load(run.init_from)
    for name in ("embedding", "blocks", "norm"):
        torch.testing.assert_close(getattr(probe, name).state_dict(), getattr(source, name).state_dict())
    assert probe.info.labels == CLASSES
    assert (probe.info.license, probe.info.clip) == ("MIT", run.clip)
    assert probe.info.source == f"linear probe of {run.init_from}"


def test_fine_tuning_starts_from_the_head_of_the_probe(finished: tuple[RunConfig, FineTuned]):
    run, _ = finished
    folder = ProbeFolder(Path(run.output))
    tuned = read_config(folder.fine_tuning.config, kind=RunConfig)
    assert (tuned.init_from, tuned.init_head, tuned.probe_views) == (run.init_from, str(folder.probe), 0)
    plain = replace(run, probe_views=0, init_head=str(folder.probe), output=str(folder.root.parent / "plain"))
    train(plain, on_message=quiet)
    assert are_equal(weights_of(plain.output), weights_of(folder.fine_tuning.root))


def test_the_kept_model_is_the_better_one_and_the_page_shows_both(finished: tuple[RunConfig, FineTuned]):
    run, result = finished
    tuned = result.fine_tuned
    assert tuned is not None
    better = tuned if tuned.top1 > result.probe.top1 else result.probe
    assert result.kept is better
    torch.testing.assert_close(load(run.output).state_dict(), load(better.model).state_dict())
    page = ProbeFolder(Path(run.output)).report.read_text("utf-8")
    for text in ("Probe and fine-tuning", "probe: linear head on frozen features", "fine-tuned from the head of the",
                 "chance", "always grow", "Strength of the penalty", "new head: 7 classes became 3"):  # fmt: skip
        assert text in page
    stored = json.loads(ProbeFolder(Path(run.output)).result.read_text("utf-8"))
    assert stored == result.to_dict()
    assert stored["baselines"]["chance"] == pytest.approx(1 / 3)
    assert stored["probe"]["minutes"] > 0
    assert stored["probe"]["num_groups"] == len({video.group for video in better.evaluation.predictions}) > 1


def test_no_group_is_in_training_and_in_validation(finished: tuple[RunConfig, FineTuned]):
    run, _ = finished
    train_videos, val_videos = load_data(run.data, seed=run.seed)
    assert not {*train_videos.groups} & {*val_videos.groups}


def _result(probe: float, tuned: float | None, finished: FineTuned) -> FineTuned:
    """A result of given accuracies."""

    def candidate(old: Any, top1: float) -> Any:
        return replace(old, evaluation=replace(old.evaluation, top1=top1, top1_interval=(0.3, 0.7)))

    second = None if tuned is None else candidate(finished.fine_tuned, tuned)
    return replace(finished, probe=candidate(finished.probe, probe), fine_tuned=second)


@pytest.mark.parametrize(
    ("probe", "tuned", "kept", "reason"),
    [
        (
            0.5,
            0.6,
            "fine-tuned",
            "The fine-tuned model is kept: it is correct on 60.0% .* the probe on 50.0%",
        ),
        (0.6, 0.5, "probe", "The probe is kept: .* the fine-tuned model on 50.0%.*inside the interval of the probe"),
        (0.6, 0.2, "probe", "outside the interval"),
        (0.5, 0.5, "probe", "The probe is kept: both models are correct on 50.0%"),
        (0.5, None, "probe", "the run stopped after it"),
    ],
)
def test_the_more_accurate_model_is_kept_and_of_equal_ones_the_probe(
    finished: tuple[RunConfig, FineTuned], probe: float, tuned: float | None, kept: str, reason: str
):
    result = _result(probe, tuned, finished[1])
    assert result.kept.way == kept
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(result.reason)


def test_a_model_that_standardizes_its_features_keeps_doing_so(probed: RunConfig):
    run = replace(probed, model=replace(probed.model, head_norm="batch"), epochs=1)
    result = fine_tune(run, on_message=quiet)
    probe = load(result.probe.model)
    assert probe.config.head_norm == "batch"
    videos = load_data(run.data, seed=run.seed).val
    again = evaluate(probe, videos, num_workers=0, device="cpu")
    torch.testing.assert_close(
        [video.true_probability for video in again.predictions],
        [video.true_probability for video in result.probe.evaluation.predictions],
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip


# --- Stop and resume ------------------------------------------------------------------------------------------------


def test_until_probe_leaves_a_whole_folder_and_resume_goes_on(
    probed: RunConfig, finished: tuple[RunConfig, FineTuned], computed: list[int]
):
    result = fine_tune(probed, until="probe", on_message=quiet)
    assert result.fine_tuned is None
    assert load(probed.output).info.labels == CLASSES
    assert "The probe is kept: the run stopped after it" in ProbeFolder(Path(probed.output)).report.read_text("utf-8")
    assert json.loads((Path(probed.output) / "result.json").read_text())["fine_tuned"] is None
    computed.clear()
    whole = fine_tune(probed, resume=True, on_message=quiet)
    assert computed == []
    assert are_equal(weights_of(whole.folder / "fine_tuning"), weights_of(finished[1].folder / "fine_tuning"))
    with pytest.raises(ConfigError, match="the run has gone on after its probe; resume it without until='probe'"):
        fine_tune(probed, until="probe", resume=True, on_message=quiet)


def test_a_killed_run_computes_no_feature_twice(
    probed: RunConfig, finished: tuple[RunConfig, FineTuned], computed: list[int], monkeypatch: pytest.MonkeyPatch
):
    put, stored = features_module.FeatureCache.put, []

    def killed(self: Any, key: str, features: Any) -> None:
        put(self, key, features)
        stored.append(key)
        if len(stored) in (5, 9):
            raise Stopped

    monkeypatch.setattr(features_module.FeatureCache, "put", killed)
    for resume in (False, True):
        with pytest.raises(Stopped):
            fine_tune(probed, resume=resume, on_message=quiet)
    whole = fine_tune(probed, resume=True, on_message=quiet)
    assert len(stored) == len(set(stored)) == 24
    assert sorted(computed) == [2] * 18 + [3] * 6  # views of training and of validation videos
    assert are_equal(weights_of(whole.folder / "fine_tuning"), weights_of(finished[1].folder / "fine_tuning"))


@pytest.mark.parametrize("line", ["training", "fine-tuned"])
def test_a_run_killed_in_the_fine_tuning_ends_as_if_it_had_not_been(
    probed: RunConfig, finished: tuple[RunConfig, FineTuned], computed: list[int], line: str
):
    with pytest.raises(Stopped):
        fine_tune(probed, on_message=raise_at(line, Stopped()))
    assert load(probed.output).info.labels == CLASSES  # the probe can be used meanwhile
    computed.clear()
    whole = fine_tune(probed, resume=True, on_message=quiet)
    assert computed == []
    assert are_equal(weights_of(whole.folder / "fine_tuning"), weights_of(finished[1].folder / "fine_tuning"))
    assert whole.kept.way == finished[1].kept.way
    assert not list(whole.folder.rglob("*.part"))


def test_a_process_that_its_launcher_started_again_goes_on(probed: RunConfig, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    with pytest.raises(Stopped):
        fine_tune(probed, on_message=raise_at("training", Stopped()))
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert fine_tune(probed, on_message=quiet).fine_tuned is not None


def test_a_run_is_replaced_only_when_asked_and_its_valid_features_stay(
    probed: RunConfig, finished: tuple[RunConfig, FineTuned], computed: list[int], tmp_path: Path
):
    shutil.copytree(finished[0].output, probed.output)
    with pytest.raises(ConfigError, match="already holds a run: name another folder, or pass resume=True"):
        fine_tune(probed, on_message=quiet)
    with pytest.raises(ConfigError, match="the run to resume has another config: epochs was 2 and is 1"):
        fine_tune(replace(probed, epochs=1), resume=True, on_message=quiet)
    fine_tune(replace(probed, epochs=1), overwrite=True, on_message=quiet)
    assert computed == []
    fine_tune(replace(probed, probe_views=1), until="probe", overwrite=True, on_message=quiet)
    assert computed == [1] * 18  # validation views do not depend on it
    assert len(list(ProbeFolder(Path(probed.output)).features.iterdir())) == 24
    assert not ProbeFolder(Path(probed.output)).fine_tuning.config.exists()


def test_a_damaged_feature_file_is_computed_again(
    probed: RunConfig, computed: list[int], caplog: pytest.LogCaptureFixture
):
    fine_tune(probed, until="probe", on_message=quiet)
    files = sorted(ProbeFolder(Path(probed.output)).features.iterdir())
    files[0].write_bytes(files[0].read_bytes()[:100])
    files[1].write_bytes(b"")
    computed.clear()
    fine_tune(probed, until="probe", resume=True, on_message=quiet)
    assert len(computed) == 2
    assert "is damaged: its features are computed again" in caplog.text


# --- Videos that cannot be used -------------------------------------------------------------------------------------


def _with_line(persons: Path, tmp_path: Path, *lines: str) -> Path:
    """A list with further lines, next to the same videos."""
    rows = [*csv.reader(persons.read_text().splitlines())]
    own = [",".join([str(persons.parent / path), label, group]) for path, label, group in rows[1:]]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,group", *own, *lines, ""]))
    return tmp_path / "list.csv"


def test_a_video_that_cannot_be_decoded_ends_the_run_or_is_skipped(
    probed: RunConfig, persons: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    data = DataConfig(train=str(_with_line(persons, tmp_path, "broken.mp4,grow,z")), num_workers=0)
    with pytest.raises(DecodeError, match=r"broken\.mp4"):
        fine_tune(replace(probed, data=data), until="probe", on_message=quiet)
    skipping = replace(probed, data=replace(data, on_decode_error="skip"))
    result = fine_tune(skipping, until="probe", overwrite=True, on_message=quiet)
    assert "skipped: " in caplog.text
    assert len(result.probe.evaluation.skipped) in (0, 1)


def test_a_class_without_a_training_video_is_never_preferred(probed: RunConfig, monkeypatch: pytest.MonkeyPatch):
    train_videos, val_videos = load_data(probed.data, seed=0)
    names = (*CLASSES, "nothing")
    split = Split(*(Manifest(each.samples, names) for each in (train_videos, val_videos)))
    monkeypatch.setattr(run_module, "load_data", lambda data, seed: split)
    result = fine_tune(probed, until="probe", on_message=quiet)
    for video in result.probe.evaluation.predictions:
        assert video.top5[-1][0] == "nothing"


def test_training_videos_of_one_class_are_refused(probed: RunConfig, monkeypatch: pytest.MonkeyPatch):
    train_videos, val_videos = load_data(probed.data, seed=0)
    only = Manifest(tuple(sample for sample in train_videos.samples if sample.label == 1), CLASSES)
    monkeypatch.setattr(run_module, "load_data", lambda data, seed: Split(only, val_videos))
    with pytest.raises(DataError, match="training videos that can be decoded are of one class"):
        fine_tune(probed, until="probe", on_message=quiet)


# --- Refusals -------------------------------------------------------------------------------------------------------


def test_wrong_calls_are_refused(probed: RunConfig):
    with pytest.raises(ConfigError, match="probe_views=0 fits no probe"):
        fine_tune(replace(probed, probe_views=0))
    with pytest.raises(ConfigError, match="resume and overwrite exclude each other"):
        fine_tune(probed, resume=True, overwrite=True)
    with pytest.raises(ConfigError, match=r"probe_views=2 fits a probe .* call timesformer\.fine_tune"):
        train(probed)
    with pytest.raises(ConfigError, match="probe_views=2 has no effect without init_from"):
        replace(probed, init_from="")
    with pytest.raises(ConfigError, match="init_head='x' has no effect with probe_views=2"):
        replace(probed, init_head="x")
    with pytest.raises(ConfigError, match="holds no run to resume"):
        fine_tune(probed, resume=True)


def test_the_folder_of_the_weights_is_not_replaced(probed: RunConfig):
    result = fine_tune(probed, until="probe", on_message=quiet)
    again = replace(probed, init_from=str(result.probe.model))
    with pytest.raises(ConfigError, match="is an input"):
        fine_tune(again, overwrite=True, on_message=quiet)
    assert load(result.probe.model).info.labels == CLASSES
