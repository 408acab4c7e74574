"""Write `requirements.lock` and `constraints.txt` from `pyproject.toml`: `python tools/lock.py [UV OPTION ...]`.

Versions that are already pinned stay, unless `--upgrade` or `--upgrade-package NAME` is passed on to uv. Needs uv.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS, LOCK = ROOT / "constraints.txt", ROOT / "requirements.lock"
TORCH_HASHES = ROOT / "tools/torch_cpu_hashes.txt"
TORCH = "2.13.0"

_CONSTRAINTS_HEAD = """\
# The versions that the project is tested with. As constraints they install nothing by themselves.
# Made by `make lock`, with requirements.lock, which has the hashes too. Do not edit.
"""
_LOCK_HEAD = """\
# The pins of constraints.txt with the SHA-256 of every file that may be installed; for torch also the CPU builds of
# PyTorch's own index. `make` installs with `pip install --require-hashes -c requirements.lock`.
# Made by `make lock`. Do not edit.
"""


def main(options: list[str]) -> None:
    resolved = _resolve(options)
    LOCK.write_text(_LOCK_HEAD + with_cpu_builds(resolved), "utf-8")
    CONSTRAINTS.write_text(_CONSTRAINTS_HEAD + without_hashes(resolved), "utf-8")


def _resolve(options: list[str]) -> str:
    """The output of uv for all extras and groups on all platforms, with hashes."""
    with tempfile.TemporaryDirectory() as folder:
        output, pins = Path(folder) / "pins.txt", Path(folder) / "torch.txt"
        output.write_bytes(CONSTRAINTS.read_bytes())  # pinned versions are preferred
        pins.write_text(f"torch=={TORCH}\n", "utf-8")
        groups = [argument for group in ("dev", "build", "security") for argument in ("--group", group)]
        command = ["uv", "pip", "compile", "--universal", "--python-version=3.11", "--all-extras", *groups]
        command += ["--no-emit-package=torchcodec"]  # its version depends on the build of torch
        command += ["--generate-hashes", "--no-emit-index-url", "--no-annotate", "--no-header", "--quiet"]
        # a folder of local wheels would pin their version, such as 2.13.0+cpu
        environment = {name: value for name, value in os.environ.items() if name != "UV_FIND_LINKS"}
        arguments = ["-c", str(pins), "-o", str(output), *options, "pyproject.toml"]
        subprocess.run([*command, *arguments], cwd=ROOT, env=environment, check=True)
        return output.read_text("utf-8")


def with_cpu_builds(locked: str) -> str:
    """The lock with the hashes of torch's CPU builds after those of PyPI."""
    lines = TORCH_HASHES.read_text("utf-8").splitlines()
    wheels = [line.split() for line in lines if not line.startswith("#")]
    if foreign := [name for _, name in wheels if not name.startswith(f"torch-{TORCH}+cpu-")]:
        sys.exit(f"{TORCH_HASHES} must list the CPU builds of torch {TORCH}, not {foreign[0]}")
    extra = "".join(f" \\\n    --hash=sha256:{digest}" for digest, _ in wheels)
    return re.sub(r"(?m)^(torch==.*(?:(?<=\\)\n.*)*)", lambda found: found[1] + extra, locked, count=1)


def without_hashes(locked: str) -> str:
    """The pins alone, one a line."""
    return re.sub(r" \\\n    --hash=sha256:[0-9a-f]+", "", locked)


if __name__ == "__main__":
    main(sys.argv[1:])
