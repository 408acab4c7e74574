"""Figure 3: cost of joint and divided attention against clip size. Computed, without training."""

from collections.abc import Iterator
from dataclasses import replace

from timesformer.config.presets import PRESETS
from timesformer.model.cost import cost
from timesformer.reproduce import paper
from timesformer.reproduce.result import Result, TableRow

_VIEWS = 3
_CROPS = (224, 336, 448, 560)
_FRAMES = (8, 32, 64, 96)
_SCHEMES = ("joint_space_time", "divided_space_time")


def cost_result() -> Result:
    """Cost of both schemes by crop side and number of frames, at the paper's sizes.

    Source: Bertasius et al. 2021, figure 3 (drawn without numbers) and table 5 (0.59 and 7.14).
    """
    return Result(
        name="cost",
        shows="Figure 3",
        title="Cost of joint and divided attention",
        quantity="TMAC of 3 views",
        setting={"Scale": "full: ViT-B with patches of 16, as in the paper", "Views": "3 crops of one clip"},
        rows=tuple(_rows()),
        notes=(
            "The paper calls multiply-accumulates FLOPs. It draws this figure without numbers; those next to ours are "
            "printed in its table 5. It reports that joint attention no longer fits its GPUs at 448 pixels or at "
            "32 frames.",
        ),
    )


def _rows() -> Iterator[TableRow]:
    for scheme in _SCHEMES:
        for side in _CROPS:
            yield _row(scheme, num_frames=8, side=side, panel="side of the crop, pixels (8 frames)", x=side)
        for num_frames in _FRAMES:
            yield _row(scheme, num_frames=num_frames, side=224, panel="frames (224 x 224 pixels)", x=num_frames)


def _row(scheme: str, *, num_frames: int, side: int, panel: str, x: int) -> TableRow:
    config = replace(PRESETS["base"], scheme=scheme, num_frames=num_frames, image_size=(side, side))
    found = cost(config)
    printed = paper.TMACS.get((num_frames, side)) if scheme == "divided_space_time" else None
    return TableRow(
        label=f"{scheme}, {num_frames} x {side} x {side}",
        series=scheme,
        panel=panel,
        x=x,
        value=_VIEWS * found.macs / 1e12,
        parameters=found.parameters,
        paper={} if printed is None else {"paper TMAC": printed},
        remarks={"tokens": str(found.tokens)},
    )
