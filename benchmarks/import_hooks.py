"""Changes to modules as they are imported, by `sitecustomize.py`: the product has no hooks for them."""

_HOOK = """
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder


class Finder(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != {module!r}:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            exec({change!r}, {{"module": module}})

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder())
"""


def import_hook(module: str, change: str) -> str:
    """Code for a `sitecustomize.py`: `change` runs right after a module was imported, with the module as `module`."""
    return _HOOK.format(module=module, change=change)


_BLOCKER = """
from importlib.machinery import PathFinder

find = PathFinder.find_spec


def find_spec(name, *rest):
    return None if name.partition(".")[0] in {packages!r} else find(name, *rest)


PathFinder.find_spec = find_spec
"""


def import_blocker(*packages: str) -> str:
    """Code for a `sitecustomize.py`: the packages are not found, as if they were not installed."""
    return _BLOCKER.format(packages=set(packages))
