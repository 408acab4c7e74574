"""What the page of `timesformer demo` shows besides the evaluation: where the model looks, and what happens when."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.synthetic.motion import render_clip
from timesformer.evaluation.report.page import choose_examples
from timesformer.evaluation.result import Evaluation
from timesformer.explanation.explain import Explainer
from timesformer.explanation.strip import draw_strip
from timesformer.html import data_url, encode, escape
from timesformer.model.timesformer import TimeSformer
from timesformer.timelines.picture import to_svg
from timesformer.timelines.run import timeline

_NUM_STRIPS = 3
_FPS = 16


def where_section(
    result: Evaluation, model: TimeSformer, *, num_strips: int = _NUM_STRIPS, allow_codecs: Collection[str] = ()
) -> str:
    """Section with the explanations of a few videos, mistakes first."""
    explainer = Explainer(model, allow_codecs=allow_codecs)
    figures = []
    for video in choose_examples(result.predictions, count=num_strips):
        explanation = explainer(video.path)
        picture = encode(np.asarray(draw_strip(explanation)), kind="png")
        figures.append(f'<figure><img src="{data_url(picture, "png")}" alt="{escape(explanation.label)}"></figure>')
    text = (
        "What each patch adds to the logit of the predicted class, over the original frames, and the same by frame "
        "(<code>timesformer explain</code>). The color scale is one for each clip."
    )
    return f"<h2>Where the model looks</h2><p class=soft>{text}</p>{''.join(figures)}"


def when_section(video: Path, model: TimeSformer, *, window: float) -> str:
    """Section with the timeline of a long video; `window` is in seconds."""
    found = timeline(model, video, window=window)
    text = (
        f"{escape(video.name)}, new motions one after the other, each for a second: the labeled segments, and the "
        "probabilities over time (<code>timesformer timeline</code>)."
    )
    return f"<h2>What happens when</h2><p class=soft>{text}</p>{to_svg(found, curves=found.curves)}"


def write_long_video(path: Path, motions: Sequence[str], *, seed: int, size: int) -> None:
    """Write a video of synthetic motions, each once in a random order, for a second each.

    Args:
        path: The MP4.
        motions: Names from `MOTION_CLASSES`.
        seed: Seed of the order and of the motions.
        size: Height and width in pixels.
    """
    order = np.random.default_rng(seed).permutation(len(motions)).tolist()
    clips = [
        render_clip(motions[index], seed=seed + index, num_frames=_FPS, size=size, background="dark") for index in order
    ]
    write_clip(path, np.concatenate(clips), fps=_FPS)
