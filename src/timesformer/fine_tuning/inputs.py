"""Inputs of the probe: what the frozen model is shown of a clip, colors or three moments a frame."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from timesformer.config.run import ProbeInput
from timesformer.config.schema import ClipConfig

_GRAY = (0.5, 0.5, 0.5)
_SPREAD = (0.15, 0.15, 0.15)
"""Standard deviation of frames without what stands still, around middle gray."""


def input_clips(clip: ClipConfig, inputs: Sequence[ProbeInput]) -> Mapping[ProbeInput, ClipConfig]:
    """The clip settings of each input; inputs that are equal to an earlier one are left out.

    Args:
        clip: Clip settings of the run.
        inputs: `given` for these settings; `moments` for the luma of three moments in the channels of each frame;
            `motion` for the same without what stands still.
    """
    moments = replace(clip, channel_order="time")
    known: dict[ProbeInput, ClipConfig] = {
        "given": clip,
        "moments": moments,
        "motion": replace(moments, background="remove", mean=_GRAY, std=_SPREAD),
    }
    distinct: dict[ClipConfig, ProbeInput] = {}
    for name in inputs:
        distinct.setdefault(known[name], name)
    return MappingProxyType({name: clip for clip, name in distinct.items()})
