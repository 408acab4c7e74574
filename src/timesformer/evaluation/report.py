"""One page that shows how good a model is: numbers, curve, classes, confusion, and videos as the model sees them."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image

from timesformer.data.dataset import read_test_views
from timesformer.data.transforms import denormalise
from timesformer.errors import DataError, DecodeError
from timesformer.evaluation.result import Evaluation, VideoResult
from timesformer.files import replacing
from timesformer.model.cost import cost
from timesformer.model.timesformer import TimeSformer

_MAX_STRIP_FRAMES = 8
_MIN_STRIP_HEIGHT = 72
_MAX_CONFUSION_CLASSES = 40

_STYLE = """
:root { --ink:#1b1f24; --soft:#667080; --line:#e3e6ea; --good:#1a7f4b; --bad:#c0392b; --bar:#3b6fd4; }
* { box-sizing:border-box } body { font:15px/1.5 system-ui,sans-serif; color:var(--ink); margin:0; background:#fff }
main { max-width:1040px; margin:0 auto; padding:32px 20px 64px } h1 { font-size:26px; margin:0 }
h2 { font-size:18px; margin:40px 0 12px } .soft { color:var(--soft) } code { background:#f3f5f7; padding:2px 5px }
.numbers { display:flex; flex-wrap:wrap; gap:32px; margin:24px 0 } .numbers b { display:block; font-size:32px }
table { border-collapse:collapse } td,th { padding:3px 10px 3px 0; text-align:left; font-weight:400 }
.bar { display:inline-block; height:10px; background:var(--bar); border-radius:2px; vertical-align:middle }
.confusion td { width:30px; height:26px; padding:0; text-align:center; border:1px solid var(--line); font-size:12px }
.confusion th { font-size:12px; padding-right:8px; white-space:nowrap } .confusion thead th { vertical-align:bottom }
.confusion thead span { writing-mode:vertical-rl; transform:rotate(180deg) } .scroll { overflow-x:auto }
.videos { display:grid; grid-template-columns:repeat(auto-fill,minmax(460px,1fr)); gap:18px }
.videos img { width:100%; image-rendering:pixelated; border:1px solid var(--line) } figure { margin:0 }
.good { color:var(--good) } .bad { color:var(--bad) } img.curve { max-width:100% }
"""


def write_report(
    evaluation: Evaluation,
    path: str | Path,
    *,
    model: TimeSformer,
    title: str,
    curve: Path | None = None,
    num_examples: int = 12,
) -> Path:
    """Write a page that stands alone: pictures are inside, nothing is loaded from elsewhere.

    Args:
        evaluation: What to show.
        path: The HTML file; replaced at once.
        model: The model that was evaluated.
        title: Heading of the page.
        curve: PNG of the learning curve, if there is one.
        num_examples: Videos to show: wrong ones up to a half of them, and for the rest one of each class in turn.

    Raises:
        DataError: The file cannot be written.
    """
    sections = [
        _headline(evaluation, model, title=title),
        _curve(curve),
        _classes(evaluation),
        _confusion(evaluation),
        _videos(choose_examples(evaluation.predictions, count=num_examples), model),
    ]
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path}: the report cannot be written: it is a folder")
    try:
        with replacing(path) as partial:
            partial.write_text(page, "utf-8")
    except OSError as error:
        raise DataError(f"{path}: the report cannot be written: {error.strerror}") from error
    return path


def choose_examples(predictions: Sequence[VideoResult], *, count: int) -> list[VideoResult]:
    """Wrong ones, the surest first: half of `count`, or what right ones leave. Then right ones, classes in turn."""
    wrong = sorted((video for video in predictions if video.rank > 1), key=lambda video: -video.probability)
    by_class: dict[str, list[VideoResult]] = {}
    for video in predictions:
        if video.rank == 1:
            by_class.setdefault(video.label, []).append(video)
    longest = max(map(len, by_class.values()), default=0)
    right = [videos[i] for i in range(longest) for videos in by_class.values() if i < len(videos)]
    shown = wrong[: max(count // 2, count - len(right))]
    return shown + right[: count - len(shown)]


def film_strip(frames: UInt8[np.ndarray, "t h w 3"]) -> bytes:
    """A PNG of frames side by side, eight at most, enlarged until their height can be seen."""
    chosen = frames[np.linspace(0, len(frames) - 1, min(len(frames), _MAX_STRIP_FRAMES)).round().astype(int)]
    factor = max(1, -(-_MIN_STRIP_HEIGHT // frames.shape[1]))
    strip = rearrange(chosen, "t h w c -> h (t w) c").repeat(factor, axis=0).repeat(factor, axis=1)
    return _png(strip)


def _png(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def _embed(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _headline(evaluation: Evaluation, model: TimeSformer, *, title: str) -> str:
    low, high = evaluation.top1_interval
    numbers = {
        "top-1 accuracy": f"{evaluation.top1:.1%}",
        "top-5 accuracy": f"{evaluation.top5:.1%}",
        "mean over classes": f"{evaluation.mean_class:.1%}",
        "videos": f"{evaluation.num_videos}",
        "parameters": f"{cost(model.config).parameters / 1e6:.1f} M",
    }
    cells = "".join(f"<div><b>{value}</b><span class=soft>{name}</span></div>" for name, value in numbers.items())
    skipped = f"; {len(evaluation.skipped)} videos could not be read and count nowhere" if evaluation.skipped else ""
    return (
        f"<h1>{html.escape(title)}</h1><div class=numbers>{cells}</div>"
        f"<p class=soft>95 % interval of top-1: {low:.1%} to {high:.1%}. Scheme: {model.config.scheme}. "
        f"Protocol: {html.escape(evaluation.protocol)}{skipped}. Chance: {1 / len(evaluation.class_names):.1%}.</p>"
    )


def _curve(curve: Path | None) -> str:
    if curve is None or not curve.exists():
        return ""
    return f'<h2>Training</h2><img class=curve alt="learning curve" src="{_embed(curve.read_bytes())}">'


def _classes(evaluation: Evaluation) -> str:
    rows = []
    for name, share, videos in zip(
        evaluation.class_names, evaluation.per_class, evaluation.confusion.sum(axis=1), strict=True
    ):
        shown = "no videos" if np.isnan(share) else f"{share:.0%}"
        width = 0 if np.isnan(share) else round(200 * share)
        bar = f'<span class=bar style="width:{width}px"></span>'
        rows.append(f"<tr><td>{html.escape(name)}<td>{bar} {shown}<td class=soft>{videos}</tr>")
    return f"<h2>Classes</h2><table><tr><th>class<th>accuracy<th>videos</tr>{''.join(rows)}</table>"


def _confusion(evaluation: Evaluation) -> str:
    names, counts = evaluation.class_names, evaluation.confusion
    if len(names) > _MAX_CONFUSION_CLASSES:
        return ""
    head = "".join(f"<th><span>{html.escape(name)}</span></th>" for name in names)
    rows = []
    for name, row in zip(names, counts, strict=True):
        shares = row / max(row.sum(), 1)
        cells = "".join(
            f'<td style="background:rgba(59,111,212,{share:.2f})">{count or ""}</td>'
            for count, share in zip(row, shares, strict=True)
        )
        rows.append(f"<tr><th>{html.escape(name)}</th>{cells}</tr>")
    return (
        "<h2>Confusion</h2><p class=soft>Rows are the true classes, columns the predicted ones.</p>"
        f"<div class=scroll><table class=confusion><thead><tr><th></th>{head}</tr></thead>{''.join(rows)}</table></div>"
    )


def _videos(videos: Sequence[VideoResult], model: TimeSformer) -> str:
    figures = "".join(_figure(video, model) for video in videos)
    return (
        "<h2>Videos, as the model sees them</h2><p class=soft>Frames of the first view, in time from left to right."
        f"</p><div class=videos>{figures}</div>"
    )


def _figure(video: VideoResult, model: TimeSformer) -> str:
    try:
        views, _ = read_test_views(video.path, model.config, model.info.clip)
    except DecodeError as error:  # the file changed since it was evaluated
        return f"<figure><figcaption class=bad>{html.escape(str(error))}</figcaption></figure>"
    strip = film_strip(denormalise(views[0], model.info.clip).numpy())
    mark = "good" if video.rank == 1 else "bad"
    truth = "" if video.rank == 1 else f" &nbsp; true: {html.escape(video.label)} (rank {video.rank})"
    caption = f"<span class={mark}>{html.escape(video.predicted)} {video.probability:.0%}</span>{truth}"
    return (
        f'<figure><img alt="{html.escape(video.label)}" src="{_embed(strip)}"><figcaption>{caption}<br>'
        f"<span class=soft>{html.escape(Path(video.path).name)}</span></figcaption></figure>"
    )
