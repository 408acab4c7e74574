"""`flatten`: a module of this package as one script, with the code that it uses from other modules copied in.

Only the definitions that are reached from the module are copied, so the script reads videos with the code of this
package and without its dependencies. Annotations become text (`from __future__ import annotations`) and are not
followed, so that packages that only annotate, such as jaxtyping, are not needed.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

_PACKAGE = "timesformer"


@dataclass(frozen=True, slots=True)
class _Module:
    """Source of a module: its definitions by name, and where its imported names come from."""

    name: str
    lines: list[str]
    statements: dict[str, ast.stmt] = field(default_factory=dict)
    """By each name that they define, or by their line if they define none; in order."""
    docstrings: dict[int, ast.stmt] = field(default_factory=dict)
    """Text after a statement, by the statement's first line."""
    own: dict[str, str] = field(default_factory=dict)
    """Module of what is imported from this package."""
    external: dict[str, str] = field(default_factory=dict)
    """Import statement of everything else."""


def flatten(name: str, *, constants: Mapping[str, str]) -> str:
    """A script with the content of a module and of all that it uses.

    Args:
        name: The module; it imports names from this package, not modules.
        constants: New values of string constants of the module.

    Raises:
        ValueError: The module uses an import that cannot be copied, or two imports have one name.
    """
    root = _read(name)
    modules, needed, imports = {name: root}, {name: set[str]()}, dict[str, str]()
    for defined in root.statements:
        _collect(root, defined, modules, needed, imports)
    modules = {each: modules[each] for each in _in_order(name, modules, needed)}
    renamed = _renamed(modules, needed)
    parts = [f"{_docstring(root)}\n\nfrom __future__ import annotations\n\n" + "\n".join(sorted(set(imports.values())))]
    for module in modules.values():
        body = "\n\n\n".join(_texts(module, needed[module.name], constants if module is root else {}))
        for old, new in renamed.get(module.name, {}).items():
            body = re.sub(rf"(?<![\w.]){re.escape(old)}(?!\w)", new, body)
        parts.append(f"# --- {module.name} {'-' * max(3, 115 - len(module.name))}\n\n\n{body}")
    return "#!/usr/bin/env python3\n" + "\n\n\n".join(parts) + "\n"


def _read(name: str) -> _Module:
    spec = find_spec(name)
    assert spec is not None  # a module of this package
    assert spec.origin is not None
    text = Path(spec.origin).read_text("utf-8")
    module, before = _Module(name, text.splitlines()), None
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            _add_import(module, statement)
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            if before is not None:
                module.docstrings[before.lineno] = statement
        else:
            for defined in _defines(statement) or [f"line {statement.lineno}"]:
                module.statements[defined] = statement
            before = statement
    return module


def _add_import(module: _Module, statement: ast.Import | ast.ImportFrom) -> None:
    for alias in statement.names:
        local, asname = alias.asname or alias.name.partition(".")[0], f" as {alias.asname}" if alias.asname else ""
        if isinstance(statement, ast.Import):
            module.external[local] = f"import {alias.name}{asname}"
        elif (statement.module or "").partition(".")[0] == _PACKAGE:
            module.own[local] = statement.module or ""
        else:
            module.external[local] = f"from {statement.module} import {alias.name}{asname}"


def _defines(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    targets = [statement.target] if isinstance(statement, ast.AnnAssign) else getattr(statement, "targets", [])
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


def _collect(
    module: _Module, name: str, modules: dict[str, _Module], needed: dict[str, set[str]], imports: dict[str, str]
) -> None:
    """Note a definition of a module and all that it uses."""
    if name in needed[module.name]:
        return
    needed[module.name].add(name)
    for used in _used(module.statements[name]):
        if used in module.statements:
            _collect(module, used, modules, needed, imports)
        elif used in module.own:
            source = module.own[used]
            if source not in modules:
                modules[source], needed[source] = _read(source), set()
            if used not in modules[source].statements:
                raise ValueError(f"{module.name}: {used} is not defined in {source} under this name")
            _collect(modules[source], used, modules, needed, imports)
        elif used in module.external and imports.setdefault(used, module.external[used]) != module.external[used]:
            raise ValueError(f"{module.name}: {used} is imported from elsewhere in another module")


def _in_order(name: str, modules: Mapping[str, _Module], needed: Mapping[str, set[str]]) -> Iterator[str]:
    """The modules that a module uses, each after those that it uses itself, and the module."""
    done: set[str] = set()

    def visit(each: str) -> Iterator[str]:
        if each not in done:
            done.add(each)
            module = modules[each]
            used = {other for one in needed[each] for other in _used(module.statements[one])}
            for source in sorted({module.own[other] for other in used if other in module.own}):
                yield from visit(source)
            yield each

    yield from visit(name)


def _used(statement: ast.stmt) -> Iterator[str]:
    """Names in a statement, annotations aside."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name):
            yield node.id
        for name, value in ast.iter_fields(node):
            if name not in ("annotation", "returns"):
                children = value if isinstance(value, list) else [value]
                waiting += [child for child in children if isinstance(child, ast.AST)]


def _renamed(modules: Mapping[str, _Module], needed: Mapping[str, set[str]]) -> dict[str, dict[str, str]]:
    """New names of private definitions that another module has, too."""
    owner: dict[str, str] = {}
    renamed: dict[str, dict[str, str]] = {}
    for name in modules:
        for defined in sorted(needed[name]):
            if owner.setdefault(defined, name) != name:
                if not defined.startswith("_"):
                    raise ValueError(f"{name} and {owner[defined]} both define {defined}")
                renamed.setdefault(name, {})[defined] = f"{defined}_in_{name.rpartition('.')[2]}"
    return renamed


def _docstring(module: _Module) -> str:
    first = ast.parse("\n".join(module.lines)).body[0]
    return "\n".join(module.lines[first.lineno - 1 : first.end_lineno])


def _texts(module: _Module, names: set[str], constants: Mapping[str, str]) -> Iterator[str]:
    """The statements that define some names, each once, with the text that describes them."""
    seen = set()
    for name, statement in module.statements.items():
        if name not in names or statement.lineno in seen:
            continue
        seen.add(statement.lineno)
        if name in constants:
            yield f"{name} = {constants[name]!r}"
            continue
        start = min([statement.lineno, *(node.lineno for node in getattr(statement, "decorator_list", []))])
        end = module.docstrings.get(statement.lineno, statement).end_lineno
        yield "\n".join(module.lines[start - 1 : end])
