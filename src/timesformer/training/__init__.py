"""Training: from a `RunConfig` to a folder with a model. Needs the extra `train`."""

from importlib.util import find_spec

from timesformer.errors import DependencyError

_missing = [name for name in ("lightning", "matplotlib") if find_spec(name) is None]
if _missing:
    raise DependencyError(f"training needs {' and '.join(_missing)}: pip install 'timesformer[train]'")
