"""One table of `timesformer bench explain`: all methods and null maps on the test clips of one model."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from timesformer.bench.explain_measures import Example, Mean, example_of, measure
from timesformer.bench.explain_methods import CLASS_SPECIFIC, COSTLY, METHODS, NULL_MAPS
from timesformer.bench.explain_metrics import Map, rank_correlation
from timesformer.bench.explain_models import LESSONS, SIZE
from timesformer.bench.explain_result import Row, Table
from timesformer.bench.timing import OnProgress
from timesformer.data.synthetic.planted import Evidence, render_planted
from timesformer.errors import DataError
from timesformer.model.timesformer import TimeSformer

SANITY_CLIPS = 8
"""Clips of the rank correlations, each of which needs another map."""

_TEST_SEED, _REDRAW_SEED = 2, 3


class Examples(NamedTuple):
    """Test clips of a model."""

    correct: list[Example]
    """Clips to explain: classified correctly, and without a distractor in the color of the class, so that the right
    answer came from the marked object and not from a distractor by luck."""
    accuracy: float
    """Accuracy on all drawn clips."""
    num_drawn: int


@torch.no_grad()
def draw_examples(evidence: Evidence, *, count: int, model: TimeSformer, device: torch.device) -> Examples:
    """Draw test clips until `count` have no distractor in the color of the class, and classify all.

    Raises:
        DataError: The model is wrong about each of those.
    """
    explained: list[Example | None] = []
    drawn, hits = 0, 0
    while len(explained) < count:
        planted = render_planted(evidence, seed=(_TEST_SEED, drawn), num_frames=LESSONS[evidence].num_frames, size=SIZE)
        example = example_of(planted, model.config, seed=drawn, device=device)
        is_correct = int(model(example.clip[None]).argmax()) == planted.label
        drawn, hits = drawn + 1, hits + is_correct
        if planted.label not in planted.distractor_labels:
            explained.append(example if is_correct else None)
    correct = [example for example in explained if example is not None]
    if not correct:
        raise DataError(f"the model of {evidence!r} is wrong about all {count} clips: there is nothing to explain")
    return Examples(correct, hits / drawn, drawn)


def make_table(
    model: TimeSformer,
    scheme: str,
    evidence: Evidence,
    *,
    examples: Examples,
    methods: Sequence[str],
    on_progress: OnProgress = lambda done, total: None,
) -> Table:
    """Measure methods and null maps on the same clips."""
    share = statistics.fmean(float(example.evidence.mean()) for example in examples.correct)
    total, redrawn = len(methods) + len(NULL_MAPS), redraw_blocks(model)
    rows: list[Row] = []
    for name in methods:
        rows.append(_method_row(name, model, redrawn, examples.correct[: _most(name, examples.correct)]))
        on_progress(len(rows), total)
    for name in NULL_MAPS:
        rows.append(_null_row(name, model, examples.correct))
        on_progress(len(rows), total)
    return Table(
        scheme=scheme,
        evidence=evidence,
        accuracy=examples.accuracy,
        num_drawn=examples.num_drawn,
        share=share,
        rows=tuple(rows),
    )


def _most(method: str, examples: Sequence[Example]) -> int:
    return -(-len(examples) // COSTLY.get(method, 1))


def _method_row(name: str, model: TimeSformer, redrawn: TimeSformer, examples: Sequence[Example]) -> Row:
    method, seconds = METHODS[name], []
    maps: list[Map] = []
    for example in examples:
        start = time.perf_counter()
        maps.append(method(model, example.clip, example.label))
        seconds.append(time.perf_counter() - start)
    pairs = list(zip(maps, examples, strict=True))
    sane = {
        "redrawn": _correlations(pairs, lambda example: method(redrawn, example.clip, example.label)),
        "other_class": _correlations(pairs, lambda example: method(model, example.clip, example.other))
        if name in CLASS_SPECIFIC
        else [1.0] * min(len(pairs), SANITY_CLIPS),
    }
    means = _means(pairs, model) | {key: Mean.of(values) for key, values in sane.items()}
    return Row(name=name, is_null=False, measures=means, milliseconds=1000 * statistics.median(seconds))


def _null_row(name: str, model: TimeSformer, examples: Sequence[Example]) -> Row:
    size = model.config.patch_size
    pairs = [(NULL_MAPS[name](example.clip, size, example.seed), example) for example in examples]
    return Row(name=name, is_null=True, measures=_means(pairs, model), milliseconds=None)


def _means(pairs: Sequence[tuple[Map, Example]], model: TimeSformer) -> dict[str, Mean]:
    measured = [measure(relevance, example, model) for relevance, example in pairs]
    return {key: Mean.of([each[key] for each in measured]) for key in measured[0]}


def _correlations(pairs: Sequence[tuple[Map, Example]], other: Callable[[Example], Map]) -> list[float]:
    """Rank correlation of maps with other maps of the same clips."""
    return [rank_correlation(relevance, other(example)) for relevance, example in pairs[:SANITY_CLIPS]]


def redraw_blocks(model: TimeSformer) -> TimeSformer:
    """A copy of a model whose blocks have new random weights; embedding, norm and head stay."""
    with torch.random.fork_rng():
        torch.manual_seed(_REDRAW_SEED)
        redrawn = TimeSformer(model.config)
    tensors = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("blocks.")}
    redrawn.load_state_dict(tensors, strict=False)
    return redrawn.to(next(model.parameters()).device).eval()
