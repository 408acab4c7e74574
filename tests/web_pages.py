"""A stand-in for onnxruntime-web, small enough to know what it answers, and pages that run it."""

import hashlib
import io
import json
import tarfile
from base64 import b64encode
from pathlib import Path
from types import MappingProxyType

import torch

import timesformer.export
from timesformer.config.info import ModelInfo
from timesformer.data.clips.dataset import read_eval_views
from timesformer.export.sidecar import sidecar
from timesformer.export.web_runtime import WebRuntime
from timesformer.inference.fusion import fuse

PAGE = Path(timesformer.export.__file__).parent / "web"
WASM = b"not really wasm"
WEIGHTS = b"not really weights"
ORT = """
export const env = { wasm: {} };
export class Tensor { constructor(type, data, dims) { Object.assign(this, { type, data, dims }); } }
export const InferenceSession = {
  async create(bytes) {
    const expected = [new TextDecoder().decode(env.wasm.wasmBinary), new TextDecoder().decode(bytes)];
    if (expected.join() !== "not really wasm,not really weights") throw new Error(`strange files: ${expected}`);
    return { run: async ({ clips }) => ({ logits: { data: parts(clips.data) } }) };
  },
};
function parts(data) {
  const logits = new Float32Array(CLASSES);
  data.forEach((value, i) => { logits[i % CLASSES] += value * ((i % 11) - 5); });
  return logits.map((value) => value / 50);
}
"""
NAME = "tiny-runtime"


def page_folder(folder, config, clip, *, labels=()):
    """The files of a page, with a model that `answer` computes."""
    info = ModelInfo(clip=clip, labels=labels, license="MIT", source="a test")
    described = sidecar(
        config,
        info,
        file="model.onnx",
        content=WEIGHTS,
        export={"kind": "onnx", "precision": "fp32", "dynamic_frames": False},
        weights_sha256="0" * 64,
    )
    web = {"title": "tiny", "runtime_version": "0.1", "runtime_bytes": len(WASM)}
    (folder / "runtime").mkdir(parents=True)
    for file in PAGE.iterdir():
        if file.suffix in (".js", ".html", ".css"):
            (folder / file.name).write_bytes(file.read_bytes())
    (folder / "model.json").write_text(json.dumps({**described, "web": web}), "utf-8")
    (folder / "model.onnx").write_bytes(WEIGHTS)
    (folder / "runtime" / "ort.wasm").write_bytes(WASM)
    (folder / "runtime" / "ort.js").write_text(ORT.replace("CLASSES", str(config.num_classes)), "utf-8")
    return folder


def answer(video, config, clip):
    """Probabilities that the page must show for a video."""
    views, info = read_eval_views(video, config, clip)
    values = views.double().reshape(len(views), -1)
    index = torch.arange(values.shape[1])
    weighted = values * (index % 11 - 5)
    logits = torch.zeros(len(views), config.num_classes, dtype=torch.float64)
    logits.index_add_(1, index % config.num_classes, weighted)
    return fuse((logits / 50).float(), clip.fusion).tolist(), info


def package(path, *, files=None):
    """A tgz file as npm packs it, and its description with the right hashes."""
    found = files or {"dist/loader.mjs": ORT.encode(), "dist/runtime.wasm": WASM}
    with tarfile.open(path, "w:gz") as archive:
        for name, content in {**found, "dist/unneeded.js": b"x" * 1000}.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    integrity = "sha512-" + b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    hashes = [(name, hashlib.sha256(content).hexdigest()) for name, content in found.items()]
    return WebRuntime(
        NAME, "1.2.3", integrity, MappingProxyType(dict(zip(("ort.js", "ort.wasm"), hashes, strict=True)))
    )


def shown(visited, selector="#classes[data-answer], #error:not([hidden])"):
    """The page's answer, once there is one; its error is a failure."""
    visited.page.wait_for_selector(selector)
    assert visited.page.inner_text("#error") == ""
    return json.loads(visited.page.get_attribute("#classes", "data-answer"))


def classify(visited, video):
    """Choose a file, and wait for the answer."""
    page = visited.page
    page.wait_for_selector("#file:enabled")
    page.evaluate("delete document.getElementById('classes').dataset.answer")
    page.set_input_files("#file", video)
    return shown(visited)
