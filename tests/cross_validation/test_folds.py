"""Cross-validation: each video is predicted once, by the model of the fold that it was kept out of."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fake_trainer import CLASSES, PERSONS, FakeTrainer
from timesformer.cross_validation.folder import Study, read_state, study_in
from timesformer.cross_validation.held_out import continue_training
from timesformer.cross_validation.run import cross_validate
from timesformer.errors import ConfigError, DataError
from timesformer.evaluation.evaluate import evaluate
from timesformer.training.dataloaders import load_data
from timesformer.training.train import train
from training_runs import Stopped, quiet, raise_at


def rows_of(output):
    return list(csv.DictReader((Path(output) / "predictions.csv").read_text().splitlines()))


def test_each_video_is_predicted_by_the_model_of_its_fold(run, persons):
    trainer = FakeTrainer()
    result = cross_validate(run, num_folds=3, train=trainer)
    rows = rows_of(run.output)
    assert [Path(row["path"]).stem for row in rows] == [f"{person}_{label}" for person in PERSONS for label in CLASSES]
    assert [(row["group"], row["label"]) for row in rows] == [(p, label) for p in PERSONS for label in CLASSES]
    assert len({(row["group"], row["fold"]) for row in rows}) == len(PERSONS)  # a person is in one fold
    for fold_run in trainer.runs:
        own = [row for row in rows if row["fold"] == str(fold_run.data.fold)]
        seen = {path.name for part in load_data(fold_run.data, seed=fold_run.seed) for path in part.paths}
        assert seen.isdisjoint(Path(row["path"]).name for row in own)
        assert len(own) == 6
        alone = evaluate(fold_run.output, persons, num_workers=0, device="cpu")
        expected = {Path(video.path).name: video.predicted for video in alone.predictions}
        assert {Path(row["path"]).name: row["predicted"] for row in own}.items() <= expected.items()
    probabilities = np.array([[float(row[f"p_{name}"]) for name in CLASSES] for row in rows])
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert [CLASSES[index] for index in probabilities.argmax(axis=1)] == [row["predicted"] for row in rows]
    assert result.evaluation.top1 == np.mean([row["label"] == row["predicted"] for row in rows])
    assert result.evaluation.num_groups == 6
    assert np.mean([fold.top1 for fold in result.folds]) == pytest.approx(result.evaluation.top1)
    assert result.evaluation.protocol.endswith("3 crops of 16x16, softmax fusion, one model for each fold")


def test_the_result_says_all_that_was_measured(run):
    result = cross_validate(run, num_folds=3, train=FakeTrainer())
    found = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert [fold["groups"] for fold in found["folds"]] == [list(fold.groups) for fold in result.folds]
    assert found["baselines"] == {"chance": 1 / 3, "majority_class": "move_left", "majority": 1 / 3}
    assert found["num_folds"] == 3 and found["minutes"] >= 0
    page = (Path(run.output) / "report.html").read_text("utf-8")
    for heading in ("Folds", "Confusion matrix", "Classes", "Calibration", "Correct predictions"):
        assert f"<h2>{heading}</h2>" in page
    assert "Wilson" in page and "ana" in page


@pytest.mark.parametrize(
    ("keep", "val_from", "told"), [("best", "training", "each fold chose"), ("last", "fold", "nothing")]
)
def test_a_fold_never_chooses_its_epoch_by_its_own_videos(run, keep, val_from, told):
    trainer = FakeTrainer()
    result = cross_validate(replace(run, keep=keep), num_folds=2, train=trainer)
    assert [each.data.val_from for each in trainer.runs] == [val_from] * 2
    assert result.describe_choice().startswith(told)
    assert all((fold.num_val > 0) is (keep == "best") for fold in result.folds)
    assert [fold.num_train + fold.num_val for fold in result.folds] == [9, 9]


def test_a_trainer_that_chooses_gets_validation_videos_from_the_training_part(run):
    trainer = FakeTrainer()
    result = cross_validate(replace(run, keep="last"), num_folds=2, train=trainer, chooses=True)
    assert result.chooses
    assert {each.data.val_from for each in trainer.runs} == {"training"}


def test_finished_folds_are_not_trained_again(run):
    lines = []
    with pytest.raises(KeyboardInterrupt):
        cross_validate(run, num_folds=3, train=FakeTrainer(fails_at=2), on_message=lines.append)
    assert [line[:11] for line in lines] == ["fold 1 of 3", "fold 2 of 3"]
    assert not (Path(run.output) / "predictions.csv").exists()
    rest = FakeTrainer()
    resumed = cross_validate(run, num_folds=3, train=rest, resume=True)
    assert [each.data.fold for each in rest.runs] == [2, 3]
    again = cross_validate(run, num_folds=3, train=FakeTrainer(fails_at=1), resume=True)
    whole = cross_validate(replace(run, output=f"{run.output}_whole"), num_folds=3, train=FakeTrainer())
    assert rows_of(run.output) == rows_of(whole.folder)
    assert resumed.evaluation.top1 == again.evaluation.top1 == whole.evaluation.top1


def test_an_interrupted_fold_goes_on_with_equal_results(run):
    def interrupted(fold_run):
        return train(fold_run, on_message=raise_at("epoch 1", Stopped()) if fold_run.data.fold == 2 else quiet)

    with pytest.raises(Stopped):
        cross_validate(run, num_folds=2, train=interrupted)
    study = study_in(run.output)
    assert study is not None and study.outcomes(1).exists() and not study.outcomes(2).exists()
    assert not (study.run(1) / "checkpoints" / "last.ckpt").exists()  # nothing resumes it any more
    cross_validate(run, num_folds=2, resume=True)
    whole = replace(run, output=f"{run.output}_whole")
    cross_validate(whole, num_folds=2, train=continue_training)
    assert rows_of(run.output) == rows_of(whole.output)


def test_validation_videos_of_the_run_are_not_used(run, persons):
    named = replace(run, data=replace(run.data, val=str(persons)))
    trainer = FakeTrainer()
    cross_validate(named, num_folds=2, train=trainer)
    assert {each.data.val for each in trainer.runs} == {""}


def test_background_is_a_class_of_its_own_in_every_fold(run, tmp_path, persons):
    lines = ["path,label,start,end,group"]
    for person in PERSONS[:4]:
        for label in CLASSES[:2]:
            lines.append(f"{persons.parent}/{person}_{label}.mp4,{label},0.0,0.1,{person}")
    (tmp_path / "segments.csv").write_text("\n".join([*lines, ""]))
    data = replace(run.data, train=str(tmp_path / "segments.csv"), background=0.5)
    result = cross_validate(replace(run, data=data, keep="last"), num_folds=2, train=FakeTrainer())
    rows = rows_of(run.output)
    assert result.evaluation.class_names == (*CLASSES[:2], "background")
    assert {row["label"] for row in rows} == {*CLASSES[:2], "background"}
    assert {"start", "end", "p_background"} <= set(rows[0])


def test_a_class_of_one_group_is_named(run, tmp_path, persons, caplog):
    lines = persons.read_text().splitlines()
    kept = [line for line in lines if "shrink" not in line or line.endswith(",ana")]
    path = tmp_path / "some.csv"
    path.write_text("\n".join([kept[0], *(f"{persons.parent}/{line}" for line in kept[1:]), ""]))
    trained = replace(run, data=replace(run.data, train=str(path)), keep="last")
    cross_validate(trained, num_folds=2, train=FakeTrainer())
    assert "1 of 3 classes lie in one group (shrink): the fold that holds it out cannot learn them" in caplog.text


def test_videos_without_groups_are_dealt_one_by_one(run, tmp_path, persons):
    path = tmp_path / "plain.csv"
    lines = [line.rpartition(",")[0] for line in persons.read_text().splitlines()[1:]]
    path.write_text("\n".join([*(f"{persons.parent}/{line}" for line in lines), ""]))
    trained = replace(run, data=replace(run.data, train=str(path)))
    result = cross_validate(trained, num_folds=3, train=FakeTrainer())
    assert "group" not in rows_of(run.output)[0]
    assert result.evaluation.num_groups == 0
    assert "No groups are given" in (Path(run.output) / "report.html").read_text("utf-8")


def test_what_a_folder_holds_is_not_replaced(run, tmp_path):
    trainer = FakeTrainer()
    cross_validate(run, num_folds=2, train=trainer)
    refusals = [
        (run, 2, {}, r"already holds a cross-validation: name another folder, or pass resume=True \(--resume\) or"),
        (run, 3, {"resume": True}, "a cross-validation to resume has another config: num_folds was 2 and is 3"),
        (replace(run, epochs=5), 2, {"resume": True}, "has another config: epochs was 2 and is 5"),
        (
            replace(run, keep="last"),
            2,
            {"resume": True},
            "keep was 'best' and is 'last'; chooses was True and is False",
        ),
        (replace(run, output=str(tmp_path / "none")), 2, {"resume": True}, "holds no cross-validation to resume"),
        (run, 2, {"resume": True, "overwrite": True}, "resume and overwrite exclude each other"),
        (replace(run, data=replace(run.data, train="")), 2, {}, "data.train is empty"),
    ]
    for changed, num_folds, options, message in refusals:
        with pytest.raises(ConfigError, match=message):
            cross_validate(changed, num_folds=num_folds, train=trainer, **options)
    with pytest.raises(DataError, match="num_folds=7: there are only 6 groups to deal"):
        cross_validate(replace(run, output=str(tmp_path / "new")), num_folds=7, train=trainer)
    assert not (tmp_path / "new").exists()
    assert len(trainer.runs) == 2
    cross_validate(run, num_folds=3, train=trainer, overwrite=True)
    assert len(trainer.runs) == 5


def test_other_videos_are_not_mixed_with_those_of_the_start(run, tmp_path, persons):
    path = tmp_path / "list.csv"
    text = "\n".join([line if number == 0 else f"{persons.parent}/{line}" for number, line in
                      enumerate(persons.read_text().splitlines())])  # fmt: skip
    path.write_text(text)
    trained = replace(run, data=replace(run.data, train=str(path)))
    cross_validate(trained, num_folds=2, train=FakeTrainer())
    path.write_text(text.replace(",fay", ",eli"))
    with pytest.raises(ConfigError, match="the videos, their classes or their groups are others"):
        cross_validate(trained, num_folds=2, train=FakeTrainer(), resume=True)


def test_a_folder_of_somebody_else_is_left_alone(run, tmp_path):
    (tmp_path / "study" / "folds" / "mine").mkdir(parents=True)
    with pytest.raises(ConfigError, match="folds: already exists"):
        cross_validate(run, num_folds=2, train=FakeTrainer(), overwrite=True)
    (tmp_path / "single").mkdir()
    (tmp_path / "single" / "config.toml").write_text("epochs = 3\n")
    with pytest.raises(ConfigError, match="holds a run: name another folder for a cross-validation"):
        cross_validate(replace(run, output=str(tmp_path / "single")), num_folds=2, train=FakeTrainer(), overwrite=True)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("cross_validation.json", "{", r"cross_validation\.json: is damaged: "),
        ("cross_validation.json", "[]", r"is damaged: it is not a JSON object"),
        ("cross_validation.json", '{"num_folds": 2}', "is damaged: 'chooses'; delete it, or start again"),
        ("folds/1/held_out.json", '{"seconds": 1, "protocol": "x", "outcomes": "[]"}', "outcomes do not match the 9"),
    ],
)
def test_damaged_files_are_named(run, file, text, message):
    cross_validate(run, num_folds=2, train=FakeTrainer())
    (Path(run.output) / file).write_text(text)
    with pytest.raises(ConfigError, match=message):
        cross_validate(run, num_folds=2, train=FakeTrainer(), resume=True)


def test_the_state_is_the_run_that_was_started(run):
    cross_validate(run, num_folds=2, train=FakeTrainer())
    state = read_state(Study(Path(run.output), "folds"))
    assert (state.num_folds, state.chooses, state.run) == (2, True, run)


def test_a_start_that_was_killed_before_its_first_fold_can_start_again(run):
    study = Study(Path(run.output), "folds")
    study.parts.mkdir(parents=True)
    study.config.write_text("epochs = 2\n")
    (study.parts / ".config.toml.77.part").touch()
    assert len(cross_validate(run, num_folds=2, train=FakeTrainer()).folds) == 2


def test_a_relative_path_and_its_absolute_one_are_the_same_videos(run, persons, monkeypatch):
    monkeypatch.chdir(persons.parent)
    near = replace(run, data=replace(run.data, train=persons.name))
    cross_validate(near, num_folds=2, train=FakeTrainer())
    monkeypatch.chdir("/")
    assert cross_validate(run, num_folds=2, train=FakeTrainer(fails_at=1), resume=True).folds
