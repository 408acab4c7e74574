"""`timesformer` with traps, for the benchmarks and tests of the server: `trapped_serve.py TRAP... -- serve OPTIONS`.

A trap is a function of this module that wraps a function of the product, as `name` or `name=argument`. Decoding
processes import this module too, by `sitecustomize.py` of the folder that `decoder_traps` writes.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from import_hooks import import_hook

KILLS, HANGS, EATS = b"trap:kills", b"trap:hangs", b"trap:eats"
"""Marks at the end of a file whose decoder dies of SIGSEGV, never ends, or takes all memory."""
DARK = 40
"""Gray, 0 to 255, of a clip that is dark; black would be the clips with which a server warms up."""
_MOST_WAIT_S = 60.0
_DECODER = """
import sys

sys.path.append({folder!r})
import trapped_serve

module.open = trapped_serve.trapped_open(module.open)
"""


def decoder_traps(folder: Path) -> dict[str, str]:
    """Write the `sitecustomize.py` that wraps `av.open`; the environment variables with which it works."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(import_hook("av", _DECODER.format(folder=str(Path(__file__).parent))))
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}


def trapped_open(opened: Callable[..., Any]) -> Callable[..., Any]:
    """`av.open` that obeys the marks."""

    def trapped(file: Any, *arguments: Any, **keywords: Any) -> Any:
        tail = _tail(file)
        if tail.endswith(KILLS):
            os.kill(os.getpid(), signal.SIGSEGV)
        while tail.endswith(HANGS):
            time.sleep(1)
        if tail.endswith(EATS):
            hoard = [bytes([1]) * 2**24 for _ in range(10_000)]
            raise AssertionError(len(hoard))
        return opened(file, *arguments, **keywords)

    return trapped


def _tail(file: Any) -> bytes:
    """The last bytes of a path or of an open file, whose position stays."""
    if isinstance(file, str | os.PathLike):
        try:
            with open(file, "rb") as opened:
                return _tail(opened)
        except OSError:
            return b""
    if not hasattr(file, "seek"):
        return b""
    at = file.tell()
    file.seek(max(0, file.seek(0, os.SEEK_END) - 32))
    content = file.read()
    file.seek(at)
    return content


def head_seconds(seconds: str) -> None:
    """Give clients another time for the head of a request."""
    from timesformer.serve import connections

    connections.HEAD_S = float(seconds)


def dark_waits(file: str) -> None:
    """Let a batch with a dark clip wait until a file exists, for a minute at most."""

    def wait(clips: Any) -> None:
        end = time.monotonic() + _MOST_WAIT_S
        while _is_dark(clips) and not os.path.exists(file) and time.monotonic() < end:
            time.sleep(0.01)

    _before_logits(wait)


def white_poisons() -> None:
    """Let a batch fail if one of its clips is white."""

    def refuse_white(clips: Any) -> None:
        if bool((_brightness(clips) > 0.95).any()):
            raise RuntimeError("a white clip")

    _before_logits(refuse_white)


def _is_dark(clips: Any) -> bool:
    return bool(((_brightness(clips) - DARK / 255).abs() < 0.02).any())


def _brightness(clips: Any) -> Any:
    """Mean of each clip, 8-bit or normalized, as a share of white."""
    shares = clips * 0.225 + 0.45 if clips.is_floating_point() else clips.float() / 255
    return shares.mean(dim=(1, 2, 3, 4))


def out_of_memory(clips_that_fit: str) -> None:
    """Raise what torch raises on a full GPU for batches of more clips."""

    def refuse_large(clips: Any) -> None:
        if len(clips) > int(clips_that_fit):
            _refuse_memory()

    _before_compute(refuse_large)


def dark_needs_memory() -> None:
    """Raise what torch raises on a full GPU if one of the clips is dark."""

    def refuse_dark(clips: Any) -> None:
        if _is_dark(clips):
            _refuse_memory()

    _before_compute(refuse_dark)


def _refuse_memory() -> None:
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def _before_compute(tick: Callable[[Any], None]) -> None:
    from timesformer.inference.predictor import Predictor

    _before(Predictor, "_logits", tick)


def _before_logits(tick: Callable[[Any], None]) -> None:
    from timesformer.inference.predictor import Predictor

    _before(Predictor, "logits", tick)


def _before(owner: Any, name: str, tick: Callable[[Any], None]) -> None:
    original = getattr(owner, name)

    def call(self: Any, clips: Any, *arguments: Any, **keywords: Any) -> Any:
        tick(clips)
        return original(self, clips, *arguments, **keywords)

    setattr(owner, name, call)


def set_traps(traps: Iterable[str]) -> None:
    """Call traps by their texts."""
    for trap in traps:
        name, _, argument = trap.partition("=")
        globals()[name](*([argument] if argument else []))


def main() -> None:
    """Set the traps and run the command line."""
    at = sys.argv.index("--")
    set_traps(sys.argv[1:at])
    from timesformer.cli.main import main as run

    run(sys.argv[at + 1 :])


if __name__ == "__main__":
    main()
