"""How many machines a job needs: measure a core, compute cost, or simulate where the next limit lies.

    python benchmarks/sizing.py --measure                                      # clips and decoding of a core, as JSON
    python benchmarks/sizing.py --hours 1e6 --clips-per-second 0.3 --price 1   # core-hours and cost of timelines
    python benchmarks/sizing.py --simulate                                     # rate by number of cores, and its limit

`--simulate` prints its constants, each of which is an option. Measurements are processor time of one thread.
"""

import argparse
import json
import sys
from dataclasses import dataclass

from pipeline_simulation import Stage, bottleneck, simulate


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One file of a job, and the shared parts of the cluster that it passes through."""

    megabytes: float = 1.8
    """Size of a file: 10 s of 720p, bench_decode_amd-epyc-2cores_202611.md."""
    decode_seconds: float = 0.441
    """Core seconds to read the frames of its clips, from the same file."""
    clips: int = 3
    """Clips computed for a file: one test clip in three crops."""
    clips_per_second: float = 0.286
    """Of a core, or of a GPU if there are GPUs: base in fp32 on one core, sizing_amd-epyc-2cores_202611.md."""
    gpus: int = 0
    """GPUs for each 16 cores; 0 computes on the cores that decode."""
    storage_mb_per_s: float = 2000
    """What the storage delivers to all readers together; an assumption."""
    network_mb_per_s: float = 1250
    """What reaches the machines together: 10 Gbit/s, an assumption."""
    driver_rows_per_s: float = 3000
    """Files that the driver hands out and writes down in a second, from the same file."""

    def stages(self, cores: int) -> list[Stage]:
        """The pipeline on a number of cores."""
        compute = self.clips / self.clips_per_second
        room = max(4, cores)
        shared = [
            Stage(name="storage", servers=1, seconds=self.megabytes / self.storage_mb_per_s, room=room),
            Stage(name="network", servers=1, seconds=self.megabytes / self.network_mb_per_s, room=room),
        ]
        if self.gpus:
            gpus = max(1, cores * self.gpus // 16)
            work = [
                Stage(name="decode", servers=cores, seconds=self.decode_seconds, room=room),
                Stage(name="compute", servers=gpus, seconds=compute, room=room),
            ]
        else:
            work = [Stage(name="decode and compute", servers=cores, seconds=self.decode_seconds + compute, room=room)]
        return [*shared, *work, Stage(name="driver", servers=1, seconds=1 / self.driver_rows_per_s, room=room)]


def core_hours(*, hours: float, stride_s: float, clips_per_second: float, decode_speed: float) -> float:
    """Core-hours for the timelines of `hours` of video.

    Args:
        hours: Hours of video.
        stride_s: Seconds from one window to the next, each of which is one clip.
        clips_per_second: Clips a second of a core.
        decode_speed: Seconds of video that a core decodes in a second.
    """
    return hours * (1 / (stride_s * clips_per_second) + 1 / decode_speed)


def rows(job: Job, cores: list[int], *, variation: float, seed: int) -> list[dict[str, float | int | str]]:
    """For each number of cores: the closed form, the simulated rate and what is busiest."""
    table: list[dict[str, float | int | str]] = []
    for number in cores:
        stages = job.stages(number)
        # enough for the last items, during which servers run out of work, to weigh little
        outcome = simulate(stages, num_items=max(2000, 50 * number), variation=variation, seed=seed)
        limit = bottleneck(stages)
        busy = {f"{name} busy, %": round(100 * fraction) for name, fraction in outcome.busy.items()}
        table.append(
            {
                "cores": number,
                "files/s at most": limit.rate,
                "files/s simulated": outcome.rate,
                "limit": limit.name,
                **busy,
            }
        )
    return table


def print_rows(table: list[dict[str, float | int | str]]) -> None:
    """The table in Markdown."""
    heads = list(table[0])
    print("| " + " | ".join(heads) + " |")
    print("|" + "|".join("---" if isinstance(value, str) else "--:" for value in table[0].values()) + "|")
    for row in table:
        cells = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()]
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    """Do what the options say."""
    options = _parser().parse_args()
    if options.measure:
        from sizing_measurements import measure  # torch and FFmpeg are for this alone

        json.dump(measure(presets=options.presets.split(","), rounds=options.rounds), sys.stdout, indent=2)
        print()
    elif options.simulate:
        fields = {name: getattr(options, name) for name in Job.__slots__ if getattr(options, name) is not None}
        job = Job(**fields)
        print(", ".join(f"{name}={getattr(job, name):g}" for name in Job.__slots__) + "\n")
        cores = [int(number) for number in options.cores.split(",")]
        print_rows(rows(job, cores, variation=options.variation, seed=options.seed))
    else:
        _print_cost(options)


def _print_cost(options: argparse.Namespace) -> None:
    if options.clips_per_second is None:
        sys.exit("--clips-per-second is needed: what a core of your machines computes (--measure, docs/sizing.md)")
    needed = core_hours(
        hours=options.hours,
        stride_s=options.stride,
        clips_per_second=options.clips_per_second,
        decode_speed=options.decode_speed,
    )
    print(f"{options.hours:g} hours of video, a clip each {options.stride:g} s: {needed:.4g} core-hours")
    if options.price is not None:
        print(f"at {options.price:g} for a core-hour: {needed * options.price:.4g}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure this machine and print JSON")
    parser.add_argument("--presets", default="tiny,small,base", help="models to measure (default: tiny,small,base)")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds (default: 5)")
    parser.add_argument("--simulate", action="store_true", help="simulate the pipeline of a job over files")
    parser.add_argument("--cores", default="2,16,128,1024,8192", help="numbers of cores to simulate")
    parser.add_argument("--variation", type=float, default=0.5, help="of times, relative to the mean (default: 0.5)")
    parser.add_argument("--seed", type=int, default=0, help="of the simulated times (default: 0)")
    parser.add_argument("--hours", type=float, default=1e6, help="hours of video (default: a million)")
    parser.add_argument("--stride", type=float, default=2.0, help="seconds from one clip to the next (default: 2)")
    parser.add_argument("--decode-speed", type=float, default=11.0, help="seconds of video decoded in a core second")
    parser.add_argument("--price", type=float, help="of a core-hour, in your currency")
    for name in Job.__slots__:
        kind = int if name in ("clips", "gpus") else float
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=kind, help=f"of the job (default: {getattr(Job(), name):g})"
        )
    return parser


if __name__ == "__main__":
    main()
