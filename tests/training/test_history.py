from dataclasses import replace
from pathlib import Path

import pytest

from timesformer.errors import DataError
from timesformer.training.history import EpochRecord, best_epoch, format_metrics, is_over, read_metrics


def _record(epoch: int, val_accuracy: float) -> EpochRecord:
    return EpochRecord(
        epoch=epoch,
        step=10 * epoch,
        lr=1e-3 / epoch,
        train_loss=2.5,
        train_accuracy=0.25,
        val_loss=2.75,
        val_accuracy=val_accuracy,
        val_top5_accuracy=1.0,
        seconds=0.5,
    )


def test_best_epoch_is_the_later_of_equals():
    history = [_record(1, 0.5), _record(2, 0.75), _record(3, 0.75), _record(4, 0.25)]
    assert best_epoch(history).epoch == 3


def test_metrics_are_read_back_as_written(tmp_path: Path):
    history = [_record(1, 0.5), _record(2, 0.75)]
    (tmp_path / "metrics.csv").write_text(format_metrics(history))
    assert read_metrics(tmp_path / "metrics.csv") == history


def test_metrics_have_the_columns_that_people_know():
    header = format_metrics([]).strip()
    assert header == (
        "epoch,step,lr,train_loss,train_accuracy,val_loss,val_accuracy,val_top5_accuracy,seconds,"
        "train_skipped,val_skipped,data_wait_fraction"
    )


def test_metrics_without_the_columns_of_skipped_videos_are_read(tmp_path: Path):
    rows = format_metrics([_record(1, 0.5)]).splitlines()
    (tmp_path / "metrics.csv").write_text("\n".join(row.rsplit(",", 3)[0] for row in rows))
    assert read_metrics(tmp_path / "metrics.csv") == [_record(1, 0.5)]


def test_metrics_with_the_old_name_of_the_wait_are_read(tmp_path: Path):
    record = replace(_record(1, 0.5), data_wait_fraction=0.25)
    text = format_metrics([record]).replace("data_wait_fraction", "waiting_share")
    (tmp_path / "metrics.csv").write_text(text)
    assert read_metrics(tmp_path / "metrics.csv") == [record]


@pytest.mark.parametrize(
    ("accuracies", "patience", "over"),
    [
        ([], 2, False),
        ([0.5, 0.4], 2, False),
        ([0.5, 0.4, 0.3], 2, True),
        ([0.5, 0.5, 0.5], 2, True),  # an equal accuracy is not an improvement
        ([0.5, 0.4, 0.6, 0.5], 2, False),
        ([0.5, 0.4, 0.3, 0.2], 0, False),
        ([0.1, 0.2, 0.3, 0.4, 0.5], 2, True),  # all epochs are done
    ],
)
def test_run_is_over_with_its_epochs_or_its_patience(accuracies: list[float], patience: int, over: bool):
    history = [_record(number + 1, accuracy) for number, accuracy in enumerate(accuracies)]
    assert is_over(history, epochs=5, patience=patience) is over


def test_line_of_an_epoch_shows_its_measures():
    line = str(_record(4, 0.875))
    assert line == (
        "epoch 4: loss 2.5000, accuracy 25.0%; validation loss 2.7500, accuracy 87.5%; 0.5 s, 0% of the "
        "training time waiting for data"
    )


def test_line_of_an_epoch_counts_videos_that_were_left_out():
    line = str(replace(_record(4, 0.875), train_skipped=3, val_skipped=1))
    assert line.endswith("waiting for data; skipped 3 training and 1 validation videos")


@pytest.mark.parametrize(("fraction", "is_data_bound"), [(0.0, False), (0.09, False), (0.1, True), (0.8, True)])
def test_run_is_data_bound_if_it_waits_a_tenth_of_its_time(fraction: float, is_data_bound: bool):
    record = replace(_record(4, 0.875), data_wait_fraction=fraction)
    assert record.is_data_bound == is_data_bound
    assert f"{fraction:.0%} of the training time waiting for data" in str(record)


def test_missing_metrics_are_an_error(tmp_path: Path):
    with pytest.raises(DataError, match=r"metrics\.csv: No such file"):
        read_metrics(tmp_path / "metrics.csv")


def test_other_tables_are_an_error(tmp_path: Path):
    (tmp_path / "metrics.csv").write_text("epoch,step\n1,two\n")
    with pytest.raises(DataError, match="is not a table of epochs"):
        read_metrics(tmp_path / "metrics.csv")
