"""The page with the real onnxruntime-web and a real ONNX file, in Chromium."""

import pytest

from browsers import visit
from static_site import served
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.export.web_page import export_web
from timesformer.inference.predictor import Predictor
from tiny import random_model, tiny_config
from videos import write_video
from web_pages import classify

pytestmark = [
    pytest.mark.xdist_group("browser"),
    pytest.mark.slow,  # npm downloads 33 MB, and the model is exported three times
]
ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}


@pytest.mark.parametrize(
    ("scheme", "precision", "headers"),
    [
        ("divided_space_time", "fp32", {}),
        ("divided_space_time", "fp32", ISOLATED),
        ("joint_space_time", "fp32", {}),
        ("space_only", "fp32", {}),
        ("sparse_local_global", "fp32", {}),
        ("divided_space_time", "int8", {}),
    ],
)
def test_the_page_answers_as_predict(chromium, web_runtime, tmp_path, scheme, precision, headers):
    clip = ClipConfig(sampling="dense", frame_stride=4, num_clips=2, num_crops=3)
    config = tiny_config(scheme, num_frames=4, image_size=(16, 24))
    model = random_model(config, info=ModelInfo(clip=clip))
    folder = tmp_path / "site" / "page"
    export_web(model, folder, precision=precision, runtime=web_runtime)
    video = write_video(tmp_path / "clip.mp4", num_frames=40, num_b_frames=2)
    wanted = Predictor(folder / "model.onnx")(video, top_k=config.num_classes)
    with served(tmp_path / "site", headers) as url, visit(chromium, f"{url}/page/") as visited:
        found = classify(visited, video)["probabilities"]
        threads = int(visited.page.evaluate("document.documentElement.dataset.threads"))
    assert (threads > 1) == bool(headers)
    order = sorted(range(config.num_classes), key=lambda i: -found[i])
    tolerance = 1e-5 if precision == "fp32" else 0.1  # a value at the edge of an 8-bit step may fall to its other side
    assert [found[i] for i in wanted.indices] == pytest.approx(list(wanted.probabilities), abs=tolerance)
    assert precision == "int8" or order == list(wanted.indices)
