"""One server and one browser for the tests of its page."""

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import pytest

from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.weights.model_folder import save
from videos import write_video

TOKEN = "a-token-of-24-characters"
LABELS = ("clap", "<b>wave</b> & bow", "sit down", "run", "jump", "kneel", "lift")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A model with random weights and seven classes, one of which would be HTML."""
    from timesformer.model.timesformer import TimeSformer
    from tiny import random_weights

    config = ModelConfig(
        num_frames=4, image_size=(16, 24), patch_size=8, embed_dim=12, depth=2, num_heads=3, num_classes=len(LABELS)
    )
    info = ModelInfo(clip=ClipConfig(sampling="uniform", num_crops=1), labels=LABELS, license="MIT", clip_seconds=1.0)
    model = random_weights(TimeSformer(config, info=info), seed=3)
    return save(model, tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory):
    """A video of 12 seconds."""
    return write_video(tmp_path_factory.mktemp("clips") / "long.mp4", num_frames=300)


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """A video of 2 seconds."""
    return write_video(tmp_path_factory.mktemp("clips") / "clip.mp4", num_frames=50)


@pytest.fixture(scope="session")
def server(model_folder, tmp_path_factory):
    """URL of a server of that model, which wants a token and accepts 1 MB and 30 seconds."""
    token = tmp_path_factory.mktemp("token") / "token.txt"
    token.write_text(TOKEN)
    with _serving(
        "--model",
        model_folder,
        "--token-file",
        token,
        "--max-upload-mb",
        "1",
        "--max-seconds",
        "30",
        "--long-seconds",
        "5",
    ) as url:
        yield url


@pytest.fixture(scope="module")
def chromium():
    """A browser; tests that want it are left out if the machine has none."""
    from playwright.sync_api import expect

    from chromium import PATIENCE_S, launched

    expect.set_options(timeout=1000 * PATIENCE_S)
    with launched() as browser:
        yield browser


@pytest.fixture
def open_page(chromium, server):
    """Open the page of the server; with the token, unless `token` is empty."""
    from browsers import visit

    @contextmanager
    def opened(*, token=TOKEN, **settings):
        with visit(chromium, server, token=token, **settings) as visited:
            yield visited

    return partial(opened)


@contextmanager
def _serving(*arguments) -> Generator[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "timesformer", "serve", "--port", "0", "--device", "cpu", *map(str, arguments)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url.startswith("http://"), "the server did not start"
            yield url
        finally:
            process.terminate()
            process.wait(timeout=60)
