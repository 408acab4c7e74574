"""The paper's tables and figures as experiments that run: at the size of a laptop, on own videos, or in full.

An experiment is data (`experiment.Experiment`, made by `definitions`), one runner trains and measures its arms
(`runner`), one writer leaves table, JSON and plot (`result`, `plot`).
"""

from importlib.util import find_spec

from timesformer.errors import DependencyError

_missing = [name for name in ("lightning", "matplotlib") if find_spec(name) is None]
if _missing:
    raise DependencyError(f"reproduce needs {' and '.join(_missing)}: pip install 'timesformer[train]'")
