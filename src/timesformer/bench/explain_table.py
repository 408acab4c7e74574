"""One table of `timesformer bench explain`: all methods and null maps on the test clips of one model."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from timesformer.bench.explain_measures import Example, Mean, against_evidence, example_of, faithfulness
from timesformer.bench.explain_methods import CLASS_SPECIFIC, COSTLY, METHODS, NULL_MAPS
from timesformer.bench.explain_metrics import Map, rank_correlation
from timesformer.bench.explain_models import LESSONS
from timesformer.bench.explain_result import Row, Table
from timesformer.bench.timing import OnProgress
from timesformer.data.synthetic.planted import Evidence, render_planted
from timesformer.errors import DataError
from timesformer.model.timesformer import TimeSformer

FAITHFUL_CLIPS = 24
"""Clips of deletion and insertion, which need many forward passes."""
SANITY_CLIPS = 8
"""Clips of the rank correlations, each with other redrawn blocks; half as many of a costly method."""

_TEST_SEED = 2


class Examples(NamedTuple):
    """Test clips of a model."""

    deciding: list[Example]
    """Clips to explain: the answer is right, and wrong once the evidence is hidden. Without the second condition there
    would be answers by default, such as blue if no other color is seen, or from a distractor by luck; a map that
    points elsewhere is then right about the model."""
    num_correct: int
    num_drawn: int


@torch.no_grad()
def draw_examples(evidence: Evidence, *, count: int, model: TimeSformer, device: torch.device) -> Examples:
    """Draw and classify test clips, as they are and with the evidence hidden.

    Raises:
        DataError: The evidence decides in none of them.
    """
    deciding: list[Example] = []
    lesson, num_correct = LESSONS[evidence], 0
    for seed in range(count):
        planted = render_planted(evidence, seed=(_TEST_SEED, seed), num_frames=lesson.num_frames, size=lesson.size)
        example = example_of(planted, model.config, seed=seed, device=device)
        answers = model(torch.stack([example.clip, example.without_evidence()])).argmax(dim=1).tolist()
        num_correct += answers[0] == example.label
        if answers[0] == example.label != answers[1]:
            deciding.append(example)
    if not deciding:
        raise DataError(f"in none of {count} clips of {evidence!r} does the evidence decide the model's answer")
    return Examples(deciding, num_correct, count)


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
    share = statistics.fmean(float(example.evidence.mean()) for example in examples.deciding)
    total, redrawn = len(methods) + len(NULL_MAPS), [redraw_blocks(model, seed=seed) for seed in range(SANITY_CLIPS)]
    rows: list[Row] = []
    for name in methods:
        rows.append(_method_row(name, model, redrawn, examples.deciding[: _most(name, examples.deciding)]))
        on_progress(len(rows), total)
    for name in NULL_MAPS:
        rows.append(_null_row(name, model, examples.deciding))
        on_progress(len(rows), total)
    return Table(
        scheme=scheme,
        evidence=evidence,
        num_drawn=examples.num_drawn,
        num_correct=examples.num_correct,
        num_explained=len(examples.deciding),
        share=share,
        rows=tuple(rows),
    )


def _most(method: str, examples: Sequence[Example]) -> int:
    return -(-len(examples) // COSTLY.get(method, 1))


def _method_row(name: str, model: TimeSformer, redrawn: Sequence[TimeSformer], examples: Sequence[Example]) -> Row:
    method, seconds = METHODS[name], []
    maps: list[Map] = []
    for example in examples:
        start = time.perf_counter()
        maps.append(method(model, example.clip, example.label))
        seconds.append(time.perf_counter() - start)
    pairs = list(zip(maps, examples, strict=True))
    few = pairs[: SANITY_CLIPS // 2 if name in COSTLY else SANITY_CLIPS]
    measures = _means(pairs, model)
    measures["redrawn"] = _correlations(few, lambda i, example: method(redrawn[i], example.clip, example.label))
    if name in CLASS_SPECIFIC:
        measures["other_class"] = _correlations(few, lambda i, example: method(model, example.clip, example.other))
    return Row(name=name, is_null=False, measures=measures, milliseconds=1000 * statistics.median(seconds))


def _null_row(name: str, model: TimeSformer, examples: Sequence[Example]) -> Row:
    size = model.config.patch_size
    pairs = [(NULL_MAPS[name](example.clip, size, example.seed), example) for example in examples]
    return Row(name=name, is_null=True, measures=_means(pairs, model), milliseconds=None)


def _means(pairs: Sequence[tuple[Map, Example]], model: TimeSformer) -> dict[str, Mean]:
    """Mean of every measure of maps of the test clips."""
    against = [against_evidence(relevance, example) for relevance, example in pairs]
    faithful = [faithfulness(relevance, example, model) for relevance, example in pairs[:FAITHFUL_CLIPS]]
    return {key: Mean.of([each[key] for each in own]) for own in (against, faithful) for key in own[0]}


def _correlations(pairs: Sequence[tuple[Map, Example]], other: Callable[[int, Example], Map]) -> Mean:
    """Rank correlation of maps with other maps of the same clips, given the number of each clip."""
    return Mean.of([rank_correlation(relevance, other(i, example)) for i, (relevance, example) in enumerate(pairs)])


def redraw_blocks(model: TimeSformer, *, seed: int) -> TimeSformer:
    """A copy of a model whose blocks have new random weights; embedding, norm and head stay."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        redrawn = TimeSformer(model.config)
    tensors = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("blocks.")}
    redrawn.load_state_dict(tensors, strict=False)
    return redrawn.to(next(model.parameters()).device).eval()
