"""`worker` with everything that a task with a model imports, for a fork server that imports it once."""

import timesformer.inference.predictor  # noqa: F401
from timesformer.jobs.worker import open_task

__all__ = ["open_task"]
