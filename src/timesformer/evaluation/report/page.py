"""HTML report of an evaluation: accuracy, learning curve, examples, confusion, classes and calibration."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from timesformer.errors import DataError
from timesformer.evaluation.report.charts import reliability_diagram
from timesformer.evaluation.report.tables import class_table, confusion_table, mistakes_table
from timesformer.evaluation.report.videos import example_figure, mistake_figure
from timesformer.evaluation.result import Evaluation, Skipped, VideoResult
from timesformer.files import replacing
from timesformer.html import data_url, document, escape
from timesformer.inference.onnx_model import Classifier
from timesformer.model.cost import cost
from timesformer.outputs import refuse_existing, writing

STYLE = """
:root { --ink:#1b1f24; --soft:#667080; --line:#e3e6ea; --good:#1a7f4b; --bad:#c0392b; --bar:#3b6fd4; --gap:#eea79b;
--cautious:#b9cdf3 }
* { box-sizing:border-box } body { font:15px/1.5 system-ui,sans-serif; color:var(--ink); margin:0; background:#fff }
main { max-width:1080px; margin:0 auto; padding:36px 24px 64px } h1 { font-size:26px; line-height:1.25; margin:0 }
h2 { font-size:18px; margin:44px 0 6px } p { margin:0 0 14px; max-width:76ch } .soft { color:var(--soft) }
.numbers { display:flex; flex-wrap:wrap; gap:14px 36px; margin:22px 0 18px } .numbers b { display:block; font-size:30px;
line-height:1.2; font-variant-numeric:tabular-nums } .protocol { border-left:3px solid var(--bar); padding-left:12px }
table { border-collapse:collapse; font-variant-numeric:tabular-nums } td,th { padding:3px 18px 3px 0; text-align:left }
th { font-weight:500; color:var(--soft); font-size:13px } .lines td { border-top:1px solid var(--line) }
.lines .number { text-align:right } .bar { display:inline-block; height:10px; width:160px; background:var(--line);
border-radius:2px; vertical-align:middle; margin-right:8px } .bar i { display:block; height:10px; border-radius:2px;
background:var(--bar) } .scroll { overflow:auto; max-height:640px } .confusion td { width:32px; min-width:32px;
height:28px; padding:0; text-align:center; border:1px solid var(--line); font-size:12px }
.confusion th { color:var(--ink); font-weight:400; padding:0 10px 0 0; white-space:nowrap }
.confusion thead th { vertical-align:bottom; padding:0 0 6px; text-align:center } .confusion thead
span { writing-mode:vertical-rl; transform:rotate(180deg) } .pair { display:flex; flex-wrap:wrap; gap:20px 48px;
align-items:flex-start }
.wrong,.videos { display:grid; gap:20px } .wrong { grid-template-columns:repeat(auto-fill,minmax(300px,1fr)) }
.videos { grid-template-columns:repeat(auto-fill,minmax(460px,1fr)) } figure { margin:0 } figcaption { font-size:14px }
figure img { width:100% } .pixels { image-rendering:pixelated } .good { color:var(--good) }
.bad { color:var(--bad) } img.curve { max-width:100% } .name { font-size:12px; overflow-wrap:anywhere }
@media (max-width:520px) { .videos { grid-template-columns:1fr } }
"""


def write_report(
    evaluation: Evaluation,
    path: str | Path,
    *,
    model: Classifier,
    title: str,
    curve: Path | None = None,
    num_examples: int = 12,
    lead: Sequence[str] = (),
    sections: Sequence[str] = (),
    overwrite: bool = False,
    allow_codecs: Collection[str] = (),
) -> Path:
    """Write a self-contained HTML page with embedded images.

    Args:
        evaluation: The evaluation.
        path: The HTML file.
        model: The evaluated model.
        title: Heading of the page.
        curve: PNG of the learning curve; None or a missing file omits it.
        num_examples: Videos to show; see `choose_examples`.
        lead: HTML for the page, before the learning curve.
        sections: Further HTML for the page, after these videos.
        overwrite: Replace an existing file.
        allow_codecs: Codecs to decode in addition to `timesformer.data.video.codecs.DEFAULT_CODECS`.

    Raises:
        ConfigError: The file already exists and `overwrite` is False.
        DataError: The file cannot be written.
    """
    examples = choose_examples(evaluation.predictions, count=num_examples)
    return write_measures(
        evaluation,
        path,
        title=title,
        numbers={"parameters": f"{cost(model.config).parameters / 1e6:.1f} M"},
        about=f"Scheme: {model.config.scheme_text}. ",
        sections=[*lead, _curve(curve), _videos(examples, model, allow_codecs=allow_codecs), *sections],
        overwrite=overwrite,
    )


def write_measures(
    evaluation: Evaluation,
    path: str | Path,
    *,
    title: str,
    numbers: Mapping[str, str] = MappingProxyType({}),
    about: str = "",
    sections: Sequence[str] = (),
    overwrite: bool = False,
) -> Path:
    """Write the page of an evaluation without its videos, such as one of stored features.

    Args:
        evaluation: The evaluation.
        path: The HTML file.
        title: Heading of the page.
        numbers: Further numbers of the headline by name.
        about: HTML about what was evaluated, before the interval.
        sections: HTML between headline and measures.
        overwrite: Replace an existing file.

    Raises:
        ConfigError: The file already exists and `overwrite` is False.
        DataError: The file cannot be written.
    """
    parts = [_headline(evaluation, title=title, numbers=numbers, about=about), *sections, *_measures(evaluation)]
    return write_page(document(title, style=STYLE, body="".join(parts)), Path(path), overwrite=overwrite)


def _measures(evaluation: Evaluation) -> list[str]:
    sections = (confusion_table, mistakes_table, class_table, _calibration)
    return [*(section(evaluation) for section in sections), skipped_section(evaluation.skipped)]


def write_page(page: str, path: Path, *, overwrite: bool) -> Path:
    """Write a page, all or nothing.

    Raises:
        ConfigError: The file already exists and `overwrite` is False.
        DataError: The file cannot be written.
    """
    if path.is_dir():
        raise DataError(f"{path}: the report cannot be written: it is a folder")
    refuse_existing(path, overwrite=overwrite)
    with writing(path, what="the report", error=DataError), replacing(path) as partial:
        partial.write_text(page, "utf-8")
    return path


def choose_examples(predictions: Sequence[VideoResult], *, count: int) -> list[VideoResult]:
    """Choose videos for the report: mistakes, then correct predictions.

    Mistakes are sorted by probability, highest first, and take half of `count`, or more if correct predictions are few.
    Correct predictions take the classes in turn.
    """
    mistakes = sorted((video for video in predictions if video.rank > 1), key=lambda video: -video.probability)
    by_class: dict[str, list[VideoResult]] = {}
    for video in predictions:
        if video.rank == 1:
            by_class.setdefault(video.label, []).append(video)
    longest = max(map(len, by_class.values()), default=0)
    correct = [videos[i] for i in range(longest) for videos in by_class.values() if i < len(videos)]
    shown = mistakes[: max(count // 2, count - len(correct))]
    return shown + correct[: count - len(shown)]


def _headline(evaluation: Evaluation, *, title: str, numbers: Mapping[str, str], about: str) -> str:
    numbers = {
        "top-1 accuracy": f"{evaluation.top1:.1%}",
        **{f"top-{k}": f"{accuracy:.1%}" for k, accuracy in evaluation.top_k.items() if k > 1},
        "mean over classes": f"{evaluation.mean_class:.1%}",
        "calibration error": f"{evaluation.calibration.ece:.1%}",
        "segments" if evaluation.has_segments else "videos": f"{evaluation.num_videos}",
        **numbers,
    }
    cells = "".join(f"<div><b>{value}</b><span class=soft>{name}</span></div>" for name, value in numbers.items())
    num_skipped = len(evaluation.skipped)
    skipped = f" Skipped: {num_skipped} unreadable video{'s' * (num_skipped > 1)}." if num_skipped else ""
    return (
        f"<h1>{escape(title)}</h1><div class=numbers>{cells}</div>"
        f"<p class=protocol>Protocol: {escape(evaluation.protocol)}.<br><span class=soft>{about}"
        f"95 % confidence interval of top-1: {evaluation.describe_interval()}. Chance: "
        f"{1 / len(evaluation.class_names):.1%}.{_without_groups(evaluation)}{skipped}</span></p>"
    )


def _without_groups(evaluation: Evaluation) -> str:
    """What the interval means if no video has a group."""
    if evaluation.num_groups:
        return ""
    return (
        " No groups are given, so the videos count as independent: if several show one person, camera or recording, "
        "the interval is too narrow, and it says nothing about new ones."
    )


def _curve(curve: Path | None) -> str:
    if curve is None or not curve.exists():
        return ""
    return f'<h2>Training</h2><img class=curve alt="learning curve" src="{data_url(curve.read_bytes(), "png")}">'


def _videos(videos: Sequence[VideoResult], model: Classifier, *, allow_codecs: Collection[str]) -> str:
    mistakes = "".join(mistake_figure(video, model, allow_codecs=allow_codecs) for video in videos if video.rank > 1)
    examples = "".join(example_figure(video, model, allow_codecs=allow_codecs) for video in videos if video.rank == 1)
    return _figures(
        "Most confident mistakes",
        "Wrong predictions with the highest probability: first, middle and last frame of the first view.",
        figures=mistakes,
        kind="wrong",
    ) + _figures(
        "Correct predictions",
        "Frames of the first view, in temporal order, as the model sees them.",
        figures=examples,
        kind="videos",
    )


def _figures(heading: str, caption: str, *, figures: str, kind: str) -> str:
    if not figures:
        return ""
    return f"<h2>{heading}</h2><p class=soft>{caption}</p><div class={kind}>{figures}</div>"


def _calibration(evaluation: Evaluation) -> str:
    found = evaluation.calibration
    measures = {
        "expected calibration error": f"{found.ece:.3f}",
        "negative log-likelihood": f"{found.nll:.3f} nats",
        "Brier score": f"{found.brier:.3f}",
    }
    rows = "".join(f"<tr><td>{name}<td>{value}</tr>" for name, value in measures.items())
    return (
        "<h2>Calibration</h2><p class=soft>Accuracy of the videos in each bin of confidence, the probability of the "
        "predicted class. A calibrated model lies on the diagonal; red marks overconfidence, light blue "
        "underconfidence. Numbers above the bars count videos.</p>"
        f"<div class=pair>{reliability_diagram(found.bins)}<table>{rows}</table></div>"
    )


def skipped_section(skipped: Sequence[Skipped]) -> str:
    """Section of the videos that could not be decoded; empty if there are none."""
    if not skipped:
        return ""
    items = "".join(f"<li class=name>{escape(_reason(video))}</li>" for video in skipped)
    return f"<h2>Skipped videos</h2><p class=soft>Not decodable, not counted.</p><ul>{items}</ul>"


def _reason(video: Skipped) -> str:
    """The reason, which names the video, after the segment."""
    return video.reason if video.segment is None else f"{video.name}: {video.reason}"
