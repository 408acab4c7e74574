"""The experiments as data: the paper's numbers, its sizes at full scale, and what each variant changes."""

import pytest

from timesformer.config.presets import PRESETS
from timesformer.errors import ConfigError
from timesformer.model.cost import cost
from timesformer.reproduce import paper
from timesformer.reproduce.dry_run import plan_trainings
from timesformer.reproduce.experiment import MAIN
from timesformer.reproduce.experiments import EXPERIMENTS, define
from timesformer.reproduce.figure3 import cost_result
from timesformer.reproduce.sizes import SIZES, laptop_run, paper_run


def laptop(name):
    return define(name, laptop_run(name), SIZES["laptop"])


def full(name):
    return define(name, paper_run(), SIZES["full"])


def runs_of(experiment):
    return {training.name: training.run(experiment.base) for training in experiment.trainings}


@pytest.mark.parametrize("make", [laptop, full])
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_training_of_every_experiment_is_a_valid_run_and_every_arm_a_valid_test(name, make):
    experiment = make(name)
    runs = runs_of(experiment)
    for variant in experiment.variants:
        variant.test_clip(runs[variant.training.name].clip)
        assert variant.training.videos == MAIN
    labels = [(variant.label, variant.panel) for variant in experiment.variants]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_two_trainings_of_one_name_are_one_training(name):
    for experiment in (laptop(name), full(name)):
        for variant in experiment.variants:
            assert variant.training in experiment.trainings


def test_table_1_has_the_papers_parameters_and_accuracies():
    printed = [[85.9, 76.9, 36.6], [85.9, 77.4, 58.5], [121.4, 78.0, 59.5], [121.4, 75.9, 56.3], [156.8, 73.5, 56.2]]
    assert [list(variant.paper.values()) for variant in laptop("schemes").variants] == printed
    for name, row in paper.PAPER_SCHEMES.items():  # the paper counts with the head of SSv2
        config = define("schemes", paper_run(), SIZES["full"]).base.model
        found = cost(type(config)(scheme=name, num_classes=174)).parameters
        assert round(found / 1e6, 1) == row["paper params, M"]


def test_tables_3_4_and_8_have_the_papers_accuracies():
    columns = ("paper IN-1k K400", "paper IN-1k SSv2", "paper IN-21k K400", "paper IN-21k SSv2")
    printed = [[75.8, 59.5, 78.0, 59.5], [77.8, 62.2, 79.7, 62.5], [78.1, 62.4, 80.7, 62.3]]
    assert [[variant.paper[key] for key in columns] for variant in full("pretraining").variants[1:]] == printed
    assert [[*variant.paper.values()] for variant in laptop("position").variants] == [
        [75.4, 45.8],
        [77.8, 52.5],
        [78.0, 59.5],
    ]
    rows = [[56.8, 48.2, 8.5, 48], [61.2, 50.8, 34.1, 12], [62.2, 51.5, 68.3, 6], [62.6, 51.2, 102.4, 4]]
    assert [list(variant.paper.values()) for variant in full("long").variants] == rows
    assert [variant.remarks["clip, s"] for variant in full("long").variants] == ["8.53", "34.1", "68.3", "102"]


def test_figure_3_gives_the_costs_derived_from_the_paper():
    rows = cost_result().rows
    joint, divided = ([row.value for row in rows if row.series.startswith(name)] for name in ("joint", "divided"))
    assert [round(value, 2) for value in joint] == [0.54, 1.59, 3.79, 7.83, 0.54, 3.79, 11.92, 24.41]
    assert [round(value, 2) for value in divided] == [0.59, 1.37, 2.55, 4.22, 0.59, 2.36, 4.74, 7.14]
    printed = [(row.value, row.paper["paper TMAC"]) for row in rows if row.paper]
    assert len(printed) == 3
    assert all(round(value, 2) == number for value, number in printed)


def test_full_scale_has_the_papers_sizes():
    tokens = runs_of(full("tokens")).values()
    assert [run.model.image_size[0] for run in tokens if run.model.num_frames == 8] == [224, 336, 448, 560]
    by_frames = [(run.model.num_frames, run.clip.frame_stride) for run in tokens if run.model.image_size == (224, 224)]
    assert by_frames == [(8, 32), (32, 8), (64, 4), (96, 4)]
    for name, run in runs_of(full("clips")).items():
        assert (run.model.num_frames, run.model.image_size) == (PRESETS[name].num_frames, PRESETS[name].image_size)
    assert [run.clip.frame_stride for run in runs_of(full("clips")).values()] == [32, 16, 4]
    optim = full("schemes").base.optim
    assert (optim.optimizer, optim.lr, optim.weight_decay, optim.schedule) == ("sgd", 0.005, 1e-4, "steps")


def test_figure_6_takes_1_3_5_and_10_clips_of_one_crop():
    experiment = laptop("clips")
    for training, run in runs_of(experiment).items():
        clips = [variant.test_clip(run.clip) for variant in experiment.variants if variant.training.name == training]
        assert [(clip.sampling, clip.num_clips, clip.num_crops) for clip in clips] == [
            ("dense", 1, 1), ("dense", 3, 1), ("dense", 5, 1), ("dense", 10, 1),
        ]  # fmt: skip


def test_a_long_clip_of_the_laptop_covers_its_whole_video():
    experiment = laptop("long")
    videos = experiment.motions[MAIN]
    covered = {run.model.num_frames * run.clip.frame_stride for run in runs_of(experiment).values()}
    assert max(covered) == videos.num_frames
    assert min(covered) * 8 == videos.num_frames


def test_pretraining_shows_the_image_model_other_videos_and_hands_its_weights_on():
    experiment = laptop("pretraining")
    images, scratch, pretrained = experiment.trainings
    assert images.run(experiment.base).model.scheme == "space_only"
    assert (images.videos, pretrained.start, scratch.start) == ("images", "images", "")
    assert experiment.motions["images"].seed_offset != experiment.motions[MAIN].seed_offset


def test_from_scratch_ignores_weights_that_the_other_arms_start_from():
    base = laptop_run("pretraining")
    experiment = define("pretraining", type(base)(init_from="weights"), SIZES["own"])
    starts = {name: run.init_from for name, run in runs_of(experiment).items()}
    assert starts == {"scratch": "", "pretrained": "weights"}


def test_a_plan_counts_the_steps_of_a_fraction_of_the_videos():
    plans = plan_trainings(laptop("data-scale"), num_train=70)
    # 20 epochs of ceil(17.5 / 16), ceil(35 / 16), ceil(52.5 / 16), ceil(70 / 16) steps
    assert [plan.steps for plan in plans] == [40, 60, 80, 100] * 2
    assert plan_trainings(laptop("data-scale"), num_train=None)[0].steps is None


def test_an_unknown_experiment_is_refused_with_the_closest_name():
    with pytest.raises(ConfigError, match="did you mean 'schemes'"):
        laptop("scheme")
