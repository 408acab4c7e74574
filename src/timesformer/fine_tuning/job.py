"""A run with a probe, with everything known before its first step."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from timesformer.config.compute import ComputeOptions
from timesformer.config.run import RunConfig
from timesformer.fine_tuning.features import FeatureCache, OnProgress
from timesformer.fine_tuning.folder import ProbeFolder
from timesformer.training.dataloaders import Split

logger = logging.getLogger(__name__)

OnMessage = Callable[[str], None]
Progress = Callable[[str], AbstractContextManager[OnProgress]]
"""A progress bar with a description, which gives a function to call with the number done and the total."""

TOP_K = (1, 5)
"""Values of k of the evaluations."""


@dataclass(frozen=True, slots=True)
class Job:
    """A run with everything known before its first step."""

    run: RunConfig
    folder: ProbeFolder
    cache: FeatureCache
    device: torch.device
    split: Split
    on_message: OnMessage | None
    progress: Progress

    @property
    def say(self) -> OnMessage:
        """Reports an event."""
        return self.on_message or logger.info

    @property
    def options(self) -> ComputeOptions:
        """How features and predictions are computed."""
        data = self.run.data
        return ComputeOptions(
            device=self.run.device,
            precision=self.run.precision,
            num_workers=data.num_workers,
            on_error=data.on_decode_error,
            allow_codecs=data.allow_codecs,
        )
