"""Print what `pyproject.toml` requires for extras and groups: `python tools/requirements.py NAME ...`.

pip cannot verify the hash of a folder such as `.[train]`, so it is given these lines and installs the project itself
without dependencies.
"""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def requirements(names: list[str]) -> list[str]:
    """Requirements of some extras and groups; `core` names those of the project without extras."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    project, groups = document["project"], document["dependency-groups"]
    known = {**project["optional-dependencies"], **groups, "core": project["dependencies"]}
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"{unknown[0]}: neither an extra nor a group of pyproject.toml; known: {', '.join(known)}")
    return sorted({requirement for name in names for requirement in known[name]})


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1:])))
