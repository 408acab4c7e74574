"""`timesformer evaluate` on stored features, with a head of `timesformer train --features`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from timesformer.cli.console import note, print_json
from timesformer.cli.measures import baseline_lines, summary
from timesformer.errors import ConfigError, DataError
from timesformer.evaluation.baselines import Baselines, baselines_of
from timesformer.evaluation.evaluate import check_top_k
from timesformer.evaluation.report.page import write_measures
from timesformer.evaluation.result import Evaluation, write_predictions
from timesformer.jobs.folder import JobFolder, read_job
from timesformer.outputs import check_files
from timesformer.retrieval.embeddings import embedding_files
from timesformer.retrieval.heads.evaluate import evaluate_rows
from timesformer.retrieval.heads.folder import HeadFolder, holds_head, load_head
from timesformer.retrieval.heads.page import head_sections
from timesformer.retrieval.heads.rows import read_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureFiles:
    """Files to write."""

    csv: Path | None
    page: Path | None
    overwrite: bool

    @property
    def given(self) -> list[Path]:
        """Those that were asked for."""
        return [file for file in (self.csv, self.page) if file is not None]


def reads_features(data: str, model: str) -> bool:
    """Whether `evaluate` is asked to evaluate a head on stored features.

    Raises:
        ConfigError: The model is not a head and the data are features, or the other way around.
    """
    is_head, path = holds_head(model), Path(data).expanduser()
    are_features = _are_features(path)
    if are_features and not is_head:
        raise ConfigError(
            f"{data} holds embeddings, and --model {model} is not a head: train one with `timesformer train --features "
            f"{data}`, or name the videos"
        )
    if is_head and not are_features and not any(path.glob("*.parquet")) and not HeadFolder(Path(model)).model.exists():
        raise ConfigError(
            f"--model {model} is a head for embeddings without a model: name embeddings instead of {data}, or train "
            "the head again with --model BACKBONE, the model that computed them"
        )
    return is_head and (are_features or any(path.glob("*.parquet")))


def _are_features(path: Path) -> bool:
    """Whether a path is a Parquet file or a folder of `embed`."""
    if path.is_file():
        return path.suffix.lower() == ".parquet"
    try:
        job = read_job(JobFolder(path)) if path.is_dir() else None
    except DataError:
        return False
    return job is not None and job.get("verb") == "embed"


def evaluate_features(
    data: str, model: str, *, idle: Mapping[str, bool], top_k: Sequence[int], files: FeatureFiles, as_json: bool
) -> None:
    """Evaluate a head on stored features, write the files, and print the measures.

    Args:
        data: The features.
        model: The run folder of the head.
        idle: Options that have no effect on stored features, and whether they are given.
        top_k: Values of k.
        files: Files to write.
        as_json: Print the measures as JSON.

    Raises:
        ConfigError: An option without effect is given, or a file cannot be written.
        TimeSformerError: The head or the rows cannot be used.
    """
    given = [name for name, is_given in idle.items() if is_given]
    if given:
        raise ConfigError(f"{', '.join(given)}: no effect on {data}, which holds features, not videos")
    if files.overwrite and not files.given:
        raise ConfigError("--overwrite has no effect without --csv or --page")
    check_top_k(top_k)
    folder = HeadFolder(Path(model).expanduser())
    reads = (*embedding_files(data), folder.head, folder.tensors)
    check_files(*files.given, overwrite=files.overwrite, reads=reads)
    stored = load_head(model)
    rows = read_rows(
        data,
        embedding_column=stored.embedding_column,
        label_column=stored.label_column,
        group_column=stored.group_column,
    )
    note(rows.describe())
    result = evaluate_rows(stored, rows, top_k=top_k)
    baselines = baselines_of(result, majority_class=stored.majority_class)
    try:
        _write(result, baselines, files, title=f"{model} on {data}")
    finally:
        if as_json:
            print_json({**result.to_dict(), "baselines": baselines.to_dict()})
        else:
            print(f"{summary(result)}\n{baseline_lines(baselines)}")


def _write(result: Evaluation, baselines: Baselines, files: FeatureFiles, *, title: str) -> None:
    if files.csv is not None:
        write_predictions(result, files.csv, overwrite=files.overwrite)
    if files.page is not None:
        sections = head_sections(result, baselines)
        write_measures(result, files.page, title=title, sections=sections, overwrite=files.overwrite)
