"""Screenshots of the page of `timesformer serve` with a real model, in every state, to look at.

    python benchmarks/page_screenshots.py CLIP --long VIDEO --model runs/utd27 --window 2 --output /tmp/shots

Writes `<state>_<width>.png` for the states empty, result, overlay, timeline, error and camera: 1280 pixels wide in the
light scheme, and 360 pixels wide in the dark one. Prints each file with the width of its page as JSON; a page that is
wider than its window scrolls sideways. Needs Chromium. `--join VIDEO...` makes the long video of several clips first.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from PIL import Image

from chromium import PATIENCE_S, launched, wait_until
from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.video.reader import open_reader

if TYPE_CHECKING:
    from playwright.sync_api import Page, ViewportSize

VIEWS: tuple[tuple[int, Any], ...] = ((1280, "light"), (360, "dark"))
HEIGHT = 800
COLORS = 256
SETTLED_MS = 700


def main() -> None:
    """Take the screenshots."""
    options = _parser().parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.join:
        _join(options.join, options.long)
    with _served(options.model) as url, launched() as browser:
        for width, scheme in VIEWS:
            size = cast("ViewportSize", {"width": width, "height": HEIGHT})
            page = browser.new_page(viewport=size, color_scheme=scheme)
            page.set_default_timeout(1000 * PATIENCE_S)
            page.goto(url)
            for state, reach in _states(options).items():
                reach(page)
                _shoot(page, options.output / f"{state}_{width}.png", height=options.height)
            page.close()


def _states(options: argparse.Namespace) -> dict[str, Callable[["Page"], object]]:
    """How to reach each state from the one before."""

    def choose(page: "Page", file: Any) -> None:
        page.set_input_files("#file", file)
        page.locator("#bars li, .problem").first.wait_for()

    def overlay(page: "Page") -> None:
        page.click("#run-explain")
        wait_until(page, "document.getElementById('overlay').duration > 0")
        page.evaluate("() => { const video = document.getElementById('overlay'); video.pause();"
                      " video.currentTime = video.duration / 3; }")  # fmt: skip

    def timeline(page: "Page") -> None:
        choose(page, options.long)
        page.fill("#window", options.window)
        page.click("#run-timeline")
        page.locator(".segment").first.wait_for()
        page.locator("tbody button").last.click()

    text = {"name": "notes.mp4", "mimeType": "video/mp4", "buffer": b"Not a video."}
    return {
        "empty": lambda page: page.locator("#card dt").first.wait_for(),
        "result": lambda page: choose(page, options.clip),
        "overlay": overlay,
        "timeline": timeline,
        "error": lambda page: choose(page, text),
        "camera": lambda page: page.locator("#stage [data-camera]").click(),
    }


def _shoot(page: "Page", path: Path, *, height: int | None) -> None:
    page.mouse.move(0, 0)
    page.wait_for_timeout(SETTLED_MS)
    page.screenshot(path=path, full_page=True)
    if height is not None:
        picture = Image.open(path).convert("RGB")
        picture.crop((0, 0, picture.width, min(height, picture.height))).quantize(COLORS).save(path, optimize=True)
    print(json.dumps({"file": str(path), "page_width": page.evaluate("document.documentElement.scrollWidth")}))


@contextmanager
def _served(model: str) -> Generator[str]:
    """URL of a server of a model."""
    command = [sys.executable, "-m", "timesformer", "serve", "--model", model, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def _join(clips: Sequence[Path], output: Path) -> None:
    """Write clips one after the other into one video of the rate of the first."""
    parts, rates = [], []
    for clip in clips:
        with open_reader(clip) as reader:
            rates.append(reader.info.fps)
            parts.append(reader.read(range(reader.info.num_frames)))
    write_clip(output, np.concatenate(parts), fps=round(rates[0]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, help="video for the result and the overlay")
    parser.add_argument("--long", type=Path, required=True, help="video for the timeline")
    parser.add_argument("--join", type=Path, nargs="+", help="clips of which to make the long video")
    parser.add_argument("--model", required=True)
    parser.add_argument("--window", default="", help="window of the timeline in seconds (default: of the model)")
    parser.add_argument("--height", type=int, help="keep so many rows from the top and 256 colors, for documentation")
    parser.add_argument("--output", type=Path, required=True, help="folder of the screenshots")
    return parser


if __name__ == "__main__":
    main()
