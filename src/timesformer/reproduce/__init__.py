"""The paper's tables and figures as experiments: at laptop size, on your own videos, or in full.

An experiment is data (`experiment.Experiment`, built in `experiments`). `runner` trains and measures its variants;
`result` and `plot` write the table, JSON and plot.
"""

from importlib.util import find_spec

from timesformer.errors import DependencyError

_missing = [name for name in ("lightning", "matplotlib") if find_spec(name) is None]
if _missing:
    raise DependencyError(f"reproduce needs {' and '.join(_missing)}: pip install 'timesformer[train]'")
