"""Damaged videos through all readers, in a child process with limits: does anything die, hang or fail unexpectedly?

Videos of all codecs that are decoded by default and that PyAV can encode, in all containers that take them, and on
request those of a folder, are damaged at random: see `mutated_videos.py`. Each is scanned as by `timesformer check`,
some of its frames are read as by training and prediction, and all of them in sequence as by `timesformer timeline`. A
file may be readable or not; any error that is not a `DecodeError`, and any warning, counts as unexpected.

    python benchmarks/fuzz_decoder.py --files 5000 --seed 0 --videos FOLDER > fuzz.json

Each finding has the number of its file; `--only NUMBER --keep FOLDER` with the same seed and videos writes that file.
The exit status is 1 if a child hung or died, or an error was unexpected.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from timesformer.errors import DecodeError, ProcessError
from timesformer.isolation.child import Child, isolated
from timesformer.isolation.limits import Limits

READERS = ("scan", "frames", "sequence")
Outcomes = dict[str, tuple[str, str]]
"""Kind of outcome and its detail, by reader."""


def open_readers() -> Callable[[str], tuple[Outcomes, int]]:
    """Target of the child process: reads a file in all ways; the outcomes, and the peak memory so far in bytes."""
    from timesformer.data.check.scan import Scanner
    from timesformer.data.video.feed import TimedFrame
    from timesformer.data.video.reader import open_reader
    from timesformer.data.video.sequential import open_feed

    warnings.simplefilter("error")
    scanner = Scanner()

    def scan(path: Path) -> str:
        found = scanner.scan(path)
        if found.error:
            raise DecodeError(found.error)
        return "damaged" if found.num_damaged or found.num_missing else "read"

    def frames(path: Path) -> str:
        with open_reader(path) as reader:
            last = reader.info.num_frames - 1
            reader.read([last, 0, last // 2])
            assert len(reader.times) == last + 1
            return "read"

    def sequence(path: Path) -> str:
        with open_feed(path) as feed:
            for number, frame in enumerate(feed):
                if number % 4 == 0 and isinstance(frame, TimedFrame):
                    frame.pixels()
        return "read"

    readers = dict(zip(READERS, (scan, frames, sequence), strict=True))

    def read(path: str) -> tuple[Outcomes, int]:
        outcomes = {name: _outcome(partial(reader, Path(path))) for name, reader in readers.items()}
        return outcomes, peak_bytes()

    return read


def _outcome(read: Callable[[], str]) -> tuple[str, str]:
    try:
        return read(), ""
    except DecodeError as error:
        return "refused", str(error)
    except MemoryError:
        return "out of memory", ""
    except Exception as error:
        return f"unexpected {type(error).__name__}", "".join(traceback.format_exception(error)[-4:])


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@dataclass
class Tally:
    """What happened so far."""

    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in READERS})
    deaths: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, Any]] = field(default_factory=list)
    slowest: dict[str, Any] = field(default_factory=lambda: {"seconds": 0.0})
    peak_child_bytes: int = 0
    seconds: list[float] = field(default_factory=list)

    def add(self, about: dict[str, Any], child: Child, path: Path) -> None:
        """Read a file and count what happens."""
        start = time.perf_counter()
        try:
            outcomes, peak = child.call(str(path))
        except ProcessError as error:
            self.deaths[str(error)] += 1
            self.findings.append({**about, "death": str(error), "stderr": error.stderr[-1500:]})
        else:
            self.peak_child_bytes = max(self.peak_child_bytes, peak)
            for name, (kind, detail) in outcomes.items():
                self.outcomes[name][kind] += 1
                if kind.startswith("unexpected"):
                    self.findings.append({**about, "reader": name, "error": kind, "detail": detail})
        self.seconds.append(time.perf_counter() - start)
        if self.seconds[-1] > self.slowest["seconds"]:
            self.slowest = {**about, "seconds": round(self.seconds[-1], 2)}


def fuzz(
    sources: Sequence[Any], *, num_files: int, seed: int, limits: Limits, on_progress: Callable[[int], None]
) -> dict[str, Any]:
    """Damage and read files.

    Args:
        sources: Whole videos.
        num_files: Number of damaged files.
        seed: Seed of the damage.
        limits: Limits of the child process that reads.
        on_progress: Called with the number of finished files.
    """
    from mutated_videos import mutate

    tally, kinds = Tally(), Counter[str]()
    with tempfile.TemporaryDirectory() as folder, isolated("fuzz_decoder:open_readers", limits=limits) as child:
        child.start()
        peak_before = peak_bytes()
        for number in range(num_files):
            source, content, damage = mutate(sources, seed=seed, number=number)
            kinds.update(damage.split("+"))
            path = Path(folder, f"{number}{source.suffix}")
            path.write_bytes(content)
            tally.add({"number": number, "source": source.name, "damage": damage}, child, path)
            path.unlink()
            on_progress(number + 1)
    return _report(tally, kinds, limits=limits, num_files=num_files, seed=seed, grown=peak_bytes() - peak_before)


def _report(
    tally: Tally, kinds: Counter[str], *, limits: Limits, num_files: int, seed: int, grown: int
) -> dict[str, Any]:
    seconds = sorted(tally.seconds)
    return {
        "files": num_files,
        "seed": seed,
        "damage": dict(kinds.most_common()),
        "outcomes": {name: dict(counter.most_common()) for name, counter in tally.outcomes.items()},
        "deaths_of_children": dict(tally.deaths),
        "deaths_of_the_parent": 0,
        "limits": {"memory_mib": limits.memory >> 20, "seconds": limits.total_s},
        "seconds": {"median": round(seconds[len(seconds) // 2], 4), "sum": round(sum(seconds), 1)},
        "slowest": tally.slowest,
        "peak_child_mib": tally.peak_child_bytes >> 20,
        "parent_grew_mib": grown >> 20,
        "findings": tally.findings,
    }


def readable_sources(videos: Sequence[Path]) -> list[Any]:
    """The made videos and those of some folders, without those that are not readable when whole."""
    from mutated_videos import given_sources, made_sources

    readable = []
    with tempfile.TemporaryDirectory() as folder, isolated("fuzz_decoder:open_readers") as child:
        for source in [*made_sources(Path(folder)), *(source for given in videos for source in given_sources(given))]:
            path = Path(folder, f"whole{source.suffix}")
            path.write_bytes(source.content)
            with suppress(ProcessError):
                if child.call(str(path))[0]["frames"][0] == "read":
                    readable.append(source)
    return readable


def main() -> int:
    from machine import describe_machine
    from mutated_videos import mutate

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=5000, help="number of damaged files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--videos", type=Path, nargs="*", default=[], help="folders of further videos")
    parser.add_argument("--memory-mib", type=int, default=2048, help="limit of a child process")
    parser.add_argument("--seconds", type=float, default=30, help="limit for a file")
    parser.add_argument("--only", type=int, help="write this file instead of reading all")
    parser.add_argument("--keep", type=Path, default=Path(), help="folder for the file of --only")
    options = parser.parse_args()
    limits = Limits(memory=options.memory_mib << 20, call_s=options.seconds, total_s=options.seconds)
    sources = readable_sources(options.videos)
    if options.only is not None:
        source, content, damage = mutate(sources, seed=options.seed, number=options.only)
        path = options.keep / f"{options.only}{source.suffix}"
        path.write_bytes(content)
        print(f"{path}: {source.name}, {damage}")
        return 0
    found = fuzz(sources, num_files=options.files, seed=options.seed, limits=limits, on_progress=_tell(options.files))
    names = sorted({source.name.partition(".")[0] for source in sources})
    print(json.dumps({"date": time.strftime("%Y-%m"), "machine": describe_machine(), "sources": len(sources),
                      "names": names, **found}, indent=1))  # fmt: skip
    return int(bool(found["findings"]))


def _tell(num_files: int) -> Callable[[int], None]:
    def tell(done: int) -> None:
        if done % 100 == 0:
            print(f"{done} of {num_files}", file=sys.stderr, flush=True)

    return tell


if __name__ == "__main__":
    os.nice(5)
    os.environ.setdefault("SVT_LOG", "0")  # the AV1 encoder prints its settings
    sys.exit(main())
