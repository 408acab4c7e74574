"""Heads on stored features: the optimum against a reference, what does not depend on order, splits, errors."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedding_tables import CLASSES, made_frames, made_rows, write_rows
from timesformer.config.io import from_dict
from timesformer.errors import ConfigError, DataError, WeightsError
from timesformer.heads.choose import StrengthScore, best_strength
from timesformer.heads.fit import Scale, fit_path
from timesformer.heads.head import Head, zero_head
from timesformer.retrieval.heads.evaluate import evaluate_rows
from timesformer.retrieval.heads.folder import HeadFolder, load_head
from timesformer.retrieval.heads.rows import Rows, read_rows
from timesformer.retrieval.heads.run import HeadRun
from timesformer.retrieval.heads.split import fold_numbers, split_rows
from timesformer.retrieval.heads.train import train_head

STRENGTHS = (1.0, 0.1, 0.01, 1e-3)
CPU = torch.device("cpu")
COLUMNS = {"embedding_column": "embedding", "label_column": "true_label", "group_column": "group"}


def read(path, **changes) -> Rows:
    return read_rows(path, **COLUMNS | changes)


def newton(z, labels, num_classes, *, strength, steps=60):
    """Weights and biases of L2-penalized multinomial regression by damped Newton steps over all parameters at once."""
    n, d = z.shape
    x = np.hstack([z, np.ones((n, 1))])
    onehot = np.eye(num_classes)[labels]
    penalty = np.tile(np.append(np.full(d, strength), 0.0), (num_classes, 1))

    def loss(w):
        logits = x @ w.T
        top = logits.max(axis=1, keepdims=True)
        log_sum = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
        return (log_sum - logits[np.arange(n), labels]).mean() + (penalty * w**2).sum() / 2

    w = np.zeros((num_classes, d + 1))
    for _ in range(steps):
        logits = x @ w.T
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        gradient = (p - onehot).T @ x / n + penalty * w
        blocks = [[((p[:, i] * ((i == j) - p[:, j]))[:, None] * x).T @ x / n for j in range(num_classes)]
                  for i in range(num_classes)]  # fmt: skip
        hessian = np.block(blocks) + np.diag(penalty.ravel())
        step = np.linalg.lstsq(hessian, gradient.ravel(), rcond=None)[0].reshape(w.shape)
        size = 1.0
        while loss(w - size * step) > loss(w) and size > 1e-12:
            size /= 2
        w = w - size * step
    return w[:, :-1], w[:, -1]


def fitted(features, labels, *, strength, kind="linear", heads=2):
    start = zero_head(kind, features.shape[1:], num_classes=len(CLASSES), attention_heads=heads, device=CPU)
    features, labels = torch.as_tensor(features), torch.as_tensor(labels)
    return next(fit_path(kind, start, features, labels, strengths=[strength], tolerance=1e-8))


@pytest.fixture
def example():
    columns = made_rows()
    features = np.stack(columns["embedding"]).astype(np.float64) * np.arange(1, 8) + 3
    return features, np.array([CLASSES.index(label) for label in columns["true_label"]])


@pytest.mark.parametrize("strength", [1.0, 0.01, 1e-4])
def test_the_linear_head_is_the_one_that_newton_steps_find(example, strength):
    features, labels = example
    mean, std = features.mean(axis=0), features.std(axis=0)
    weight, bias = newton((features - mean) / std, labels, 3, strength=strength)
    head = fitted(features, labels, strength=strength).head
    np.testing.assert_allclose(head.tensors["weight"].numpy(), weight / std, atol=1e-5)
    expected = features @ (weight / std).T + bias - (weight / std) @ mean
    logits = head.logits(torch.as_tensor(features)).numpy()
    centered = [each - each.mean(axis=1, keepdims=True) for each in (logits, expected)]  # a common shift has no effect
    np.testing.assert_allclose(*centered, atol=1e-4)


@pytest.mark.parametrize("strength", [10.0, 0.1, 1e-3, 1e-5])
def test_the_gradient_is_zero_at_the_optimum(example, strength):
    features, labels = example
    fit = fitted(features, labels, strength=strength)
    mean, std = features.mean(axis=0), features.std(axis=0)
    z, weight = (features - mean) / std, fit.head.tensors["weight"].numpy() * std
    error = fit.head.logits(torch.as_tensor(features)).softmax(dim=1).numpy() - np.eye(3)[labels]
    assert np.abs(error.T @ z / len(z) + strength * weight).max() < 1e-6
    assert np.abs(error.mean(axis=0)).max() < 1e-6
    assert fit.gradient < 1e-6


def test_a_constant_channel_changes_nothing(example):
    features, labels = example
    wide = np.hstack([features, np.full((len(features), 1), 5.0)])
    plain, other = (fitted(each, labels, strength=0.01).head for each in (features, wide))
    torch.testing.assert_close(other.tensors["weight"][:, :-1], plain.tensors["weight"], atol=1e-7, rtol=0)
    assert other.tensors["weight"][:, -1].abs().max() == 0
    assert Scale.of(torch.as_tensor(wide)).std[-1] == 1


@settings(max_examples=15, deadline=None)
@given(factor=st.floats(0.01, 100), shift=st.floats(-50, 50))
def test_scaled_and_shifted_features_give_the_same_predictions(factor, shift):
    columns = made_rows(num_rows=30)
    features = np.stack(columns["embedding"]).astype(np.float64)
    labels = np.array([CLASSES.index(label) for label in columns["true_label"]])
    changed = factor * features + shift
    plain, other = (fitted(each, labels, strength=0.01).head.logits(torch.as_tensor(each)).softmax(dim=1)
                    for each in (features, changed))  # fmt: skip
    torch.testing.assert_close(other, plain, atol=1e-5, rtol=0)


def test_an_attentive_head_finds_the_frame_that_tells_the_class(tmp_path):
    path = write_rows(tmp_path / "frames.parquet", made_frames(), metadata={"timesformer.shape": "[5, 4]"})
    run = HeadRun(
        features=str(path), head="attentive", attention_heads=1, output=str(tmp_path / "run"), strengths=STRENGTHS
    )
    assert train_head(run).evaluation.top1 > 0.95
    columns = made_frames()
    columns["embedding"] = [row.reshape(5, 4).mean(axis=0) for row in columns["embedding"]]
    mean = write_rows(tmp_path / "mean.parquet", columns)
    linear = train_head(HeadRun(features=str(mean), output=str(tmp_path / "linear"), strengths=STRENGTHS))
    assert linear.evaluation.top1 < 0.8


def test_an_attentive_head_without_queries_is_a_linear_head_on_the_mean_of_the_frames():
    rng = np.random.default_rng(0)
    features = torch.as_tensor(rng.normal(size=(6, 5, 4)))
    tensors = zero_head("attentive", (5, 4), num_classes=3, attention_heads=2, device=CPU)
    tensors |= {"weight": torch.as_tensor(rng.normal(size=(3, 4))), "bias": torch.as_tensor(rng.normal(size=3))}
    expected = features.mean(dim=1) @ tensors["weight"].T + tensors["bias"]
    torch.testing.assert_close(Head("attentive", tensors).logits(features), expected)


def test_the_head_of_raw_frames_is_that_of_standardized_ones():
    columns = made_frames(num_rows=30)
    features = np.stack(columns["embedding"]).reshape(30, 5, 4).astype(np.float64) * [1, 5, 0.2, 3] + [4, 0, -2, 1]
    labels = np.array([CLASSES.index(label) for label in columns["true_label"]])
    raw = fitted(features, labels, strength=0.1, kind="attentive").head.logits(torch.as_tensor(features))
    z = Scale.of(torch.as_tensor(features)).standardize(torch.as_tensor(features))
    standardized = fitted(z.numpy(), labels, strength=0.1, kind="attentive").head.logits(z)
    torch.testing.assert_close(raw, standardized, atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    path = write_rows(folder / "rows.parquet", made_rows())
    return path, train_head(HeadRun(features=str(path), output=str(folder / "run"), device="cpu"))


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_order_of_the_rows_does_not_change_the_head(trained, tmp_path_factory, seed):
    _, first = trained
    folder, order = tmp_path_factory.mktemp("shuffled"), np.random.default_rng(seed).permutation(90)
    columns = {name: [values[index] for index in order] for name, values in made_rows().items()}
    shuffled = write_rows(folder / "rows.parquet", columns)
    other = train_head(HeadRun(features=str(shuffled), output=str(folder / "run"), device="cpu"))
    assert other.strength == first.strength
    for name, tensor in first.stored.head.tensors.items():
        assert torch.equal(other.stored.head.tensors[name], tensor)
    assert other.evaluation.top1 == first.evaluation.top1


def test_a_run_folder_holds_config_cross_validation_predictions_measures_and_page(trained):
    _, result = trained
    folder = HeadFolder(result.folder)
    assert all(file.exists() for file in folder.files)
    assert not folder.model.exists()
    rows = list(csv.DictReader(folder.metrics.read_text().splitlines()))
    assert len(rows) == 17
    assert [float(row["strength"]) for row in rows if row["chosen"] == "1"] == [
        pytest.approx(result.strength, rel=1e-5)
    ]
    assert float(min(rows, key=lambda row: float(row["cv_nll"]))["strength"]) == pytest.approx(
        result.strength, rel=1e-5
    )
    stored = json.loads(folder.evaluation.read_text())
    assert stored["top1"] == result.evaluation.top1
    assert stored["baselines"] == {"chance": 1 / 3, "majority_class": "clap", "majority": pytest.approx(1 / 3)}
    page = folder.page.read_text("utf-8")
    for heading in ("Baselines", "Strength of the penalty", "Confusion matrix", "Classes", "Calibration"):
        assert f"<h2>{heading}</h2>" in page
    assert "95 % confidence interval of top-1" in page and " over " in page
    groups = {row["group"] for row in csv.DictReader(folder.predictions.read_text().splitlines())}
    assert 0 < len(groups) < 6


def test_a_stored_head_predicts_what_it_predicted_after_training(trained):
    path, result = trained
    rows = read(path)
    again, before = (evaluate_rows(each, rows) for each in (load_head(result.folder), result.stored))
    assert again.to_dict() == before.to_dict()


@settings(max_examples=40, deadline=None)
@given(
    groups=st.lists(st.sampled_from("abcdefg"), min_size=12, max_size=30),
    seed=st.integers(0, 99),
    fraction=st.floats(0.1, 0.6),
)
def test_a_group_is_never_in_both_sides_of_a_split(tmp_path_factory, groups, seed, fraction):
    rng = np.random.default_rng(seed)
    columns = {
        "embedding": list(rng.normal(size=(len(groups), 3)).astype(np.float32)),
        "true_label": [CLASSES[index % 2] for index in range(len(groups))],
        "group": groups,
    }
    rows = read(write_rows(tmp_path_factory.mktemp("split") / "rows.parquet", columns))
    try:
        train, val = split_rows(rows, None, HeadRun(val_fraction=fraction, seed=seed))
    except DataError:  # a class lies in one group, or all rows do
        return
    assert not {*train.groups} & {*val.groups}
    assert len(train) + len(val) == len(rows)
    assert {*train.labels} == {*rows.labels}
    if len({*train.groups}) > 1:
        ordered = train.canonical()
        folds = fold_numbers(ordered, folds=3, seed=seed)
        by_group = {group: {int(fold) for fold, own in zip(folds, ordered.groups, strict=True) if own == group}
                    for group in ordered.groups}  # fmt: skip
        assert all(len(found) == 1 for found in by_group.values())
        assert len({*map(int, folds)}) == min(3, len(by_group))


def test_equal_videos_without_groups_stay_together(tmp_path, caplog):
    columns = made_rows(num_rows=30)
    doubled = {name: [*values, *values] for name, values in columns.items() if name != "group"}
    rows = read(write_rows(tmp_path / "rows.parquet", doubled))
    train, val = split_rows(rows, None, HeadRun())
    assert not {*train.units} & {*val.units}
    assert "has no groups (column 'group'): rows of one person, camera or recording may lie in both" in caplog.text


def test_rows_without_an_embedding_or_a_label_are_counted(tmp_path):
    columns = made_rows()
    columns["embedding"][3] = None
    columns["true_label"][4] = None
    columns["true_label"][5] = ""
    lines = []
    run = HeadRun(
        features=str(write_rows(tmp_path / "rows.parquet", columns)), output=str(tmp_path / "run"), strengths=(1.0,)
    )
    train_head(run, on_message=lines.append)
    assert lines[0].endswith("87 rows of 7 features, 3 classes, 6 groups; left out: 1 without an embedding and 2 "
                             "without a label")  # fmt: skip


def test_whole_numbers_are_classes_in_their_order(tmp_path):
    columns = made_rows(num_rows=33)
    columns["true_label"] = [index % 11 for index in range(33)]
    rows = read(write_rows(tmp_path / "rows.parquet", columns))
    assert rows.manifest().class_names == tuple(map(str, range(11)))


def train_on(tmp_path, columns, *, metadata=None, **changes):
    path = write_rows(tmp_path / "rows.parquet", columns, metadata=metadata)
    plain = {"features": str(path), "output": str(tmp_path / "run"), "strengths": (0.1, 0.01)}
    return train_head(HeadRun(**plain | changes))


def test_a_class_without_training_rows_is_an_error_that_names_it(tmp_path):
    columns = made_rows()
    columns["group"] = ["s9" if label == "wave" else group for label, group in
                        zip(columns["true_label"], columns["group"], strict=True)]  # fmt: skip
    with pytest.raises(DataError, match=r"^1 class has no training rows: 'wave'$"):
        train_on(tmp_path, columns, val_groups=("s9",))


def test_a_validation_class_that_training_lacks_is_an_error_that_names_it(tmp_path):
    columns = made_rows(num_groups=2)
    columns["true_label"] = ["wavee" if label == "wave" else label for label in columns["true_label"]]
    columns["group"] = [f"v{group}" for group in columns["group"]]
    val = write_rows(tmp_path / "val.parquet", columns)
    with pytest.raises(DataError, match=r"does not have 1 of the videos' classes: 'wavee'; did you mean 'wave'\?"):
        train_on(tmp_path, made_rows(), val=str(val))


def test_a_group_in_training_and_validation_files_is_refused(tmp_path):
    val = write_rows(tmp_path / "val.parquet", made_rows(seed=1, num_groups=2))
    with pytest.raises(DataError, match=r"^2 groups are in both .*rows.parquet and .*val.parquet \(s0, s1\): a group "):
        train_on(tmp_path, made_rows(), val=str(val))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.pop("true_label"),
            r"has no column 'true_label' for the label; other columns: group; name",
        ),
        (
            lambda c: c.update(true_label=[0.5] * 90),
            r"column 'true_label' has the type double, needed are text",
        ),
        (
            lambda c: c.update(true_label=[None] * 90),
            r"none of 90 rows has a label in column 'true_label': embed",
        ),
        (lambda c: c.update(true_label=["clap"] * 90), r"has one class \('clap'\); a classifier needs at least two"),
        (lambda c: c.update(true_label=["a\nb", *["clap"] * 89]), r"label 'a\\nb' is not a class name"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(tmp_path, change, message):
    columns = made_rows()
    change(columns)
    with pytest.raises(DataError, match=message):
        train_on(tmp_path, columns)


def test_groups_to_hold_out_must_exist(tmp_path):
    with pytest.raises(ConfigError, match=r"no row of .* has the group 's7'; its groups are s0, s1, s2, s3, s4, s5"):
        train_on(tmp_path, made_rows(), val_groups=("s7",))
    columns = made_rows()
    del columns["group"]
    with pytest.raises(DataError, match=r"has no column 'group' for the group; other columns: true_label"):
        train_on(tmp_path, columns, val_groups=("s7",))
    with pytest.raises(DataError, match="all rows are in the groups held out for validation: hold out fewer"):
        train_on(tmp_path, made_rows(num_groups=2), val_groups=("s0", "s1"))


def test_a_head_needs_rows_of_its_shape(tmp_path):
    with pytest.raises(DataError, match=r"shape \[7\]: head='attentive' needs rows of shape \[frames, channels\]"):
        train_on(tmp_path, made_rows(), head="attentive")
    with pytest.raises(DataError, match=r"shape \[5, 4\]: head='linear' needs one vector a row"):
        train_on(tmp_path, made_frames(), metadata={"timesformer.shape": "[5, 4]"})
    with pytest.raises(ConfigError, match="attention_heads=3 does not divide the 4 channels of a frame"):
        train_on(tmp_path, made_frames(), metadata={"timesformer.shape": "[5, 4]"}, head="attentive", attention_heads=3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention_heads": 2}, "attention_heads=2 has no effect with head='linear'"),
        ({"head": "attentive", "model": "m"}, "model='m' has no effect with head='attentive'"),
        ({"strengths": ()}, r"strengths=\(\) must be numbers greater than 0, at least one"),
        ({"strengths": (0.0, 1.0)}, r"strengths=\(0.0, 1.0\) must be numbers greater than 0"),
        ({"strengths": (1.0, 1.0)}, r"names one of them twice"),
        ({"val": "x", "val_groups": ("a",)}, "val='x' and val_groups exclude each other"),
        ({"val": "x", "val_fraction": 0.3}, "val_fraction=0.3 has no effect with val"),
        ({"val_groups": ("a",), "val_fraction": 0.3}, "val_fraction=0.3 has no effect with val_groups"),
        ({"val_fraction": 1.0}, "val_fraction=1.0 must be greater than 0 and less than 1"),
        ({"folds": 1}, "folds=1 must be at least 2"),
        ({"seed": -1}, "seed=-1 must not be negative"),
        ({"output": ""}, "output is empty"),
        ({"device": "mps"}, "device='mps' has no double precision: use 'cpu'"),
    ],
)
def test_a_value_takes_effect_or_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        HeadRun(**changes)


def test_an_unknown_head_is_refused():
    with pytest.raises(ConfigError, match='head="mlp" must be'):
        from_dict({"head": "mlp"}, kind=HeadRun, source="--set")


def test_the_single_strength_is_used_as_it_is(tmp_path):
    result = train_on(tmp_path, made_rows(), strengths=(0.05,))
    assert (result.strength, result.scores) == (0.05, ())
    assert HeadFolder(result.folder).metrics.read_text() == "strength,cv_nll,cv_accuracy,chosen\n0.05,,,1\n"


def test_seed_folds_and_fraction_take_effect(tmp_path):
    path = str(write_rows(tmp_path / "rows.parquet", made_rows()))
    plain = HeadRun(features=path, output=str(tmp_path / "run"), strengths=(0.1, 0.01))
    results = [train_head(replace(plain, **changes), overwrite=bool(number)) for number, changes in
               enumerate(({}, {"seed": 4}, {"folds": 2}, {"val_fraction": 0.5}))]  # fmt: skip
    assert len({result.scores for result in results}) == 4


def test_the_best_strength_has_the_lowest_likelihood_and_of_equal_ones_is_the_strongest():
    scores = [StrengthScore(strength=s, nll=n, accuracy=1) for s, n in ((1, 0.5), (0.1, 0.2), (0.01, 0.2))]
    assert best_strength(scores) == 0.1


def test_a_strength_at_the_edge_is_told(tmp_path, caplog):
    train_on(tmp_path, made_rows(), strengths=(1.0, 1e-3))
    assert "the best strength, 0.001, is the smallest of strengths: a smaller one may be better" in caplog.text
    columns = made_rows()
    columns["true_label"] = list(np.random.default_rng(0).permutation(columns["true_label"]))
    train_on(tmp_path, columns, strengths=(100.0, 0.01), output=str(tmp_path / "other"))
    assert "the best strength, 100, is the largest of strengths: the features say little about the" in caplog.text


def test_features_of_another_model_are_refused(tmp_path):
    ours = {"timesformer.model_sha256": "ab" * 32, "timesformer.level": "cls"}
    path = write_rows(tmp_path / "other.parquet", made_rows())
    result = train_on(tmp_path, made_rows(), metadata=ours)
    message = r"its features are an unnamed model, those of the head level cls of model abababababab"
    with pytest.raises(DataError, match=message):
        evaluate_rows(result.stored, read(path))
    narrow = write_rows(tmp_path / "narrow.parquet", made_rows(dim=6))
    with pytest.raises(DataError, match=r"its features have the shape \[6\], those of the head \[7\]"):
        evaluate_rows(result.stored, read(narrow))


def test_an_existing_run_is_replaced_on_request_only(tmp_path):
    train_on(tmp_path, made_rows())
    path = str(tmp_path / "rows.parquet")
    run = HeadRun(features=path, output=str(tmp_path / "run"), strengths=(0.1,))
    with pytest.raises(ConfigError, match=r"already holds a run: name another folder, or pass overwrite=True"):
        train_head(run)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    assert train_head(replace(run, seed=3), overwrite=True).folder == tmp_path / "run"
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "metrics.csv").write_text("epoch")
    with pytest.raises(ConfigError, match=r"holds a run that was trained on videos \(metrics.csv\): name"):
        train_head(replace(run, output=str(tmp_path / "videos")), overwrite=True)


def test_a_damaged_head_is_refused(tmp_path):
    folder = HeadFolder(train_on(tmp_path, made_rows()).folder)
    content = json.loads(folder.head.read_text())
    for changes, message in (
        ({"format_version": 9}, "format_version=9, this release reads 1"),
        ({"class_names": ["a", "b"]}, "does not describe head.safetensors: train the head again"),
        ({"kind": "attentive"}, "does not describe head.safetensors|is damaged"),
        ({"sha256": "0"}, "was damaged or changed after it was saved"),
    ):
        folder.head.write_text(json.dumps(content | changes))
        with pytest.raises(WeightsError, match=message):
            load_head(folder.root)
    folder.head.write_text("{")
    with pytest.raises(WeightsError):
        load_head(folder.root)
    folder.head.write_text(json.dumps(content))
    folder.tensors.unlink()
    with pytest.raises(WeightsError, match="is damaged"):
        load_head(folder.root)
    with pytest.raises(WeightsError, match="holds no head: train one with `timesformer train --features`"):
        load_head(tmp_path)
