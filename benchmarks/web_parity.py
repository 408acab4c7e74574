"""The page of `timesformer export --web` in a real browser against `timesformer predict`: the same top 5?

    python benchmarks/web_parity.py MODEL FOLDER [--count 10] [--runtime onnxruntime-web-1.30.0.tgz] [--output FILE]

Exports the page, serves it with http.server from a subfolder, gives it videos of FOLDER in Chromium, and compares
with `Predictor`. Prints JSON.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from playwright.sync_api import Page

from chromium import NAMES, find_chromium, launched
from machine import describe_machine
from static_site import served
from timesformer import Predictor, export_web, load
from timesformer.data.video.reader import probe

_ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
_ANSWER = "#classes[data-answer]"
_WAIT_MS = 600_000


def main() -> None:
    """Parse the arguments, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=10, help="number of videos, spread evenly over the folder's")
    parser.add_argument("--runtime", type=Path, help="tgz file or folder of onnxruntime-web; else npm downloads it")
    parser.add_argument("--player", action="store_true", help="read frames through the browser's player instead")
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--threads", action="store_true", help="serve with the headers that allow threads")
    parser.add_argument("--output", type=Path, help="write the JSON here too")
    given = parser.parse_args()
    text = json.dumps(measure(given), indent=2)
    print(text)
    if given.output:
        given.output.write_text(text + "\n", "utf-8")


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Compare all videos."""
    videos = chosen(given.folder, given.count)
    predictor = Predictor(given.model)
    with tempfile.TemporaryDirectory() as root:
        model = load(given.model)
        export_web(
            model,
            Path(root) / "some" / "page",
            runtime=given.runtime,
            precision="int8" if given.int8 else "fp32",
        )
        with served(Path(root), _ISOLATED if given.threads else {}) as address, opened_page() as (page, requests):
            page.goto(f"{address}/some/page/" + ("?player" if given.player else ""))
            page.wait_for_selector("#file:enabled", timeout=_WAIT_MS)
            threads = page.evaluate("document.documentElement.dataset.threads")
            rows = [compared(page, video, predictor) for video in videos]
            foreign = sorted({url for url in requests if not url.startswith((address, "blob:", "data:"))})
            browser = page.context.browser
            version = browser.version if browser else ""
    seconds = [row["seconds"] for row in rows]
    return {
        "machine": {**describe_machine(), "chromium": version, "threads": int(threads)},
        "model": given.model.name,
        "frames": "player" if given.player else "exact",
        "precision": "int8" if given.int8 else "fp32",
        "videos": len(rows),
        "same_top_1": sum(row["same_top_1"] for row in rows),
        "same_top_5": sum(row["same_top_5"] for row in rows),
        "largest_difference": max(row["largest_difference"] for row in rows),
        "seconds_per_video": {"median": statistics.median(seconds), "largest": max(seconds)},
        "requests_to_other_hosts": foreign,
        "rows": rows,
    }


def chosen(folder: Path, count: int) -> list[Path]:
    """Videos spread evenly over the sorted ones of a folder."""
    found = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in (".mp4", ".mov", ".m4v", ".webm", ".mkv")
    )
    return [found[i * len(found) // count] for i in range(min(count, len(found)))]


def compared(page: Page, video: Path, predictor: Predictor) -> dict[str, Any]:
    """One video on the page and by `predict`."""
    page.evaluate("document.getElementById('classes').removeAttribute('data-answer')")
    started = perf_counter()
    page.set_input_files("#file", video)
    page.wait_for_selector(f"{_ANSWER}, #error:not([hidden])", timeout=_WAIT_MS)
    seconds = perf_counter() - started
    told = page.get_attribute("#classes", "data-answer")
    if told is None:
        raise SystemExit(f"{video}: {page.inner_text('#error')}")
    ours = json.loads(told)["probabilities"]
    info = probe(video)
    wanted = predictor(video, top_k=len(ours))
    by_index = dict(zip(wanted.indices, wanted.probabilities, strict=True))
    order = sorted(range(len(ours)), key=lambda i: -ours[i])
    return {
        "video": video.name,
        "frames": info.num_frames,
        "fps": round(info.fps, 3),
        "size": [info.width, info.height],
        "page": order[:5],
        "predict": list(wanted.indices[:5]),
        "same_top_1": order[0] == wanted.indices[0],
        "same_top_5": order[:5] == list(wanted.indices[:5]),
        "largest_difference": max(abs(ours[i] - by_index[i]) for i in range(len(ours))),
        "seconds": round(seconds, 3),
        "note": page.inner_text("#note") if page.is_visible("#note") else "",
    }


@contextmanager
def opened_page() -> Generator[tuple[Page, list[str]]]:
    """A page of the machine's Chromium, and the addresses that it asks for."""
    if find_chromium() is None:
        raise SystemExit(f"none of {', '.join(NAMES)} is on the PATH")
    with launched() as browser:
        page = browser.new_page()
        requests: list[str] = []
        page.context.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: print(message.text, file=sys.stderr) if message.type == "error" else None)
        yield page, requests


if __name__ == "__main__":
    main()
