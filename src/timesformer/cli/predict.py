"""`timesformer predict`"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from timesformer.cli.console import print_json, progress, say
from timesformer.cli.options import (
    DEFAULT_MODEL,
    AllowCodecs,
    AsJson,
    Compile,
    ComputeIn,
    Device,
    Fast,
    Overrides,
    given_model,
    model_overrides,
)
from timesformer.config.compute import ComputeOptions
from timesformer.data.manifest.patterns import find_matches, is_pattern
from timesformer.data.manifest.video_search import describe_passed_over, find_videos_below
from timesformer.data.video.paths import SUFFIXES_IN_SHORT, holds_frames, is_visible_video
from timesformer.errors import ConfigError, DecodeError
from timesformer.files import is_address
from timesformer.inference.predictor import Prediction, Predictor


def predict(
    paths: Annotated[list[str], Parameter(negative=())],
    /,
    *,
    model: str = DEFAULT_MODEL,
    top_k: int = 5,
    json: AsJson = False,
    device: Device = "auto",
    batch_size: int = 8,
    fast: Fast = True,
    compile: Compile = False,
    precision: ComputeIn = "fp32",
    allow_codecs: AllowCodecs = (),
    overrides: Overrides = (),
) -> int:
    """Classify video files.

    A file that cannot be read is one line on stderr; the others are still classified, and the exit status is 1.

    Example: `timesformer predict clip.mp4 more/ 'videos/*.webm' --model runs/demo --top-k 3`

    Parameters
    ----------
    paths
        Video files, folders of frames, videos in tar files (`shard-000000.tar/clip.mp4`), folders (searched for
        videos at any depth) and patterns such as `'videos/*.mp4'`.
    model
        A model folder, a run folder, a released `.pyth`, a `transformers` folder or hub id, an mmaction2 `.pth`,
        or an `.onnx` file that `timesformer export` wrote.
    top_k
        Classes to name for each video.
    batch_size
        Views that go through the model at once.
    """
    files = find_videos(paths)
    changes = model_overrides(overrides)
    options = ComputeOptions(
        device=device,
        batch_size=batch_size,
        fast=fast,
        compile=compile,
        precision=precision,
        allow_codecs=allow_codecs,
    )
    predictor = Predictor(given_model(model), options=options, **changes)
    failures = 0
    with progress("predicting") as on_progress:
        results = predictor.each(files, top_k=top_k, on_error="yield")
        for done, (path, result) in enumerate(zip(files, results, strict=True), start=1):
            if isinstance(result, DecodeError):
                failures += 1
                say(f"error: {result}")
                if json:
                    print_json({"path": str(path), "error": str(result)})
            else:
                _show(result, as_json=json)
            on_progress(done, len(files))
    if failures:
        say(f"{failures} of {len(files)} files could not be read")
    return 1 if failures else 0


def find_videos(paths: Sequence[str]) -> list[Path]:
    """Files of paths, folders and patterns: sorted within each, and each file once; what is passed over is told.

    A folder is searched; only where nothing is found below, pictures in it make it a video itself. Of the folders that
    match a pattern, those are taken that hold frames and no video file.

    Raises:
        ConfigError: A folder holds no video, a pattern matches nothing, or a path is an address of the web.
        DataError: A folder cannot be read.
    """
    found: list[Path] = []
    for text in paths:
        if is_address(text):
            raise ConfigError(f"{text} is an address, not a path: download it first, and name the file")
        path = Path(text).expanduser()
        if path.is_dir():
            files = _search_folder(path)
        elif is_pattern(text) and not path.exists():
            files = _match(path)
        else:
            files = [path]
        if not files:
            raise ConfigError(f"{text}: no videos found there (looked for {SUFFIXES_IN_SHORT})")
        found += files
    return list(dict.fromkeys(found))


def _search_folder(folder: Path) -> list[Path]:
    found = find_videos_below(folder)
    if not found.videos and holds_frames(folder):
        return [folder]
    passed_over = describe_passed_over(found.passed_over, found.others, root=folder)
    if passed_over:
        say(f"{folder}: {passed_over}")
    return list(found.videos)


def _match(pattern: Path) -> list[Path]:
    matches = find_matches(pattern)
    files = [path for path in matches if path.is_file() or _is_clip(path)]
    folders = [path for path in matches if path not in files]
    if folders:
        say(f"{pattern}: folders that match are not searched: {len(folders)} (such as {folders[0]})")
    return files


def _is_clip(folder: Path) -> bool:
    return holds_frames(folder) and not any(map(is_visible_video, folder.iterdir()))


def _show(prediction: Prediction, *, as_json: bool) -> None:
    if as_json:
        print_json(prediction.to_dict())
        return
    print(prediction.path)
    for label, probability in zip(prediction.labels, prediction.probabilities, strict=True):
        print(f"  {probability:6.1%}  {label}", flush=True)
