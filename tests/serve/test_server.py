"""`timesformer serve` as a process: what it answers."""

import base64
import json
import re
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch

from serve_process import serving
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.explanation.explain import explain
from timesformer.inference.embed import embed
from timesformer.inference.predictor import Predictor
from timesformer.timelines.run import timeline
from timesformer.weights.load import load
from timesformer.weights.model_folder import save
from tiny import random_model, tiny_config
from videos import write_video

LABELS = ("wave", "clap", "nod", "run", "sit", "jump", "throw")
METRICS = """epoch,step,lr,train_loss,train_accuracy,val_loss,val_accuracy,val_top5_accuracy,seconds
1,2,0.1,1,0.5,1,0.75,1,3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run folder of a model of seven classes, and videos."""
    folder = tmp_path_factory.mktemp("served")
    info = ModelInfo(clip=ClipConfig(sampling="uniform", num_crops=3), labels=LABELS, license="MIT", source="a test")
    save(random_model(tiny_config(), info=info), folder / "waving" / "model")
    (folder / "waving" / "metrics.csv").write_text(METRICS)
    write_video(folder / "clip.mp4", num_frames=40)
    write_video(folder / "long.mp4", num_frames=90)
    return folder


@pytest.fixture(scope="module")
def server(folder):
    with serving(folder / "waving", folder, "--long-seconds", "3", "--max-upload-mb", "1") as server:
        yield server
    assert "Traceback" not in server.log.read_text()
    assert str(folder) not in server.log.read_text()


@pytest.fixture
def client(server, folder):
    with httpx.Client(base_url=server.url, timeout=120, trust_env=False) as client:
        yield client
    assert server.wait_until_idle()


@pytest.fixture(scope="module")
def model(folder):
    return load(folder / "waving")


def post(client, path, video, **query):
    content = video if isinstance(video, bytes) else video.read_bytes()
    return client.post(path, params=query, content=content, headers={"Content-Type": "video/mp4"})


def without_path(content):
    return {key: value for key, value in content.items() if key != "path"}


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def problem(answer, status, detail):
    """The body of an error, which has all members and tells no path."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert set(found) == {"type", "title", "status", "detail", "fix"}
    assert found["status"] == status and found["fix"]
    assert re.search(detail, found["detail"]), found
    assert "/tmp" not in answer.text
    return found


def test_a_prediction_is_that_of_the_library(client, folder, model):
    expected = Predictor(model)(folder / "clip.mp4", top_k=2).to_dict()
    found = post(client, "/v1/predict", folder / "clip.mp4", top_k=2).json()
    assert_close(found.pop("probabilities"), expected.pop("probabilities"))
    assert found == {**expected, "path": "", "labels": list(expected["labels"]), "indices": list(expected["indices"])}


def test_a_form_is_read_as_well_and_names_the_video(client, folder):
    with (folder / "clip.mp4").open("rb") as file:
        found = client.post("/v1/predict", files={"file": ("../clips/a.mp4", file, "video/mp4")}).json()
    raw = post(client, "/v1/predict", folder / "clip.mp4").json()
    assert found["path"] == "a.mp4"
    assert without_path(found) == without_path(raw)
    assert len(found["labels"]) == 5


def test_a_body_without_a_stated_length_is_read(client, folder):
    content = (folder / "clip.mp4").read_bytes()
    chunks = (content[start : start + 1000] for start in range(0, len(content), 1000))
    answer = client.post("/v1/predict", content=chunks, headers={"Content-Type": "video/mp4"})
    assert answer.request.headers["transfer-encoding"] == "chunked"
    assert answer.json()["num_frames"] == 40


def test_all_classes_are_given_if_there_are_fewer_than_asked_for(client, folder):
    found = post(client, "/v1/predict", folder / "clip.mp4", top_k=100).json()
    assert sorted(found["labels"]) == sorted(LABELS)
    assert_close(sum(found["probabilities"]), 1.0)


def test_the_model_card(client, model, server):
    card = client.get("/v1/model").json()
    assert {key: card[key] for key in ("name", "labels", "num_classes", "num_frames", "image_size", "license")} == {
        "name": "waving", "labels": list(LABELS), "num_classes": 7, "num_frames": 3, "image_size": [8, 20],
        "license": "MIT",
    }  # fmt: skip
    assert card["metrics"] == {"val_accuracy": 0.75, "val_top5_accuracy": 1.0}
    assert card["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert card["limits"]["max_upload_mb"] == 1.0 and card["limits"]["long_seconds"] == 3.0
    assert card["sampling"] == card["clip"]["sampling"] == "uniform"
    assert card["clip_seconds"] is None
    assert card["explain_methods"] == ["contribution", "class", "rollout", "occlusion"]


def test_features_are_those_of_the_library(client, folder, model):
    for level, shape in (("cls", (24,)), ("frame", (3, 24)), ("patch", (3, 2, 5, 24))):
        found = post(client, "/v1/embed", folder / "clip.mp4", level=level).json()
        expected = embed(model, folder / "clip.mp4", level=level)
        assert np.shape(found["embedding"]) == shape
        assert_close(found["embedding"], expected.features)
        assert (found["dim"], found["level"]) == (24, level)
    assert found["model_sha256"] == client.get("/v1/model").json()["weights_sha256"]


@pytest.mark.parametrize("query", [{}, {"method": "rollout"}, {"method": "class", "class": "nod"}, {"class": "2"}])
def test_an_explanation_is_that_of_the_library(client, folder, model, query):
    target = int(query["class"]) if query.get("class") == "2" else query.get("class")
    expected = explain(model, folder / "clip.mp4", method=query.get("method", "contribution"), target=target)
    found = post(client, "/v1/explain", folder / "clip.mp4", **query).json()
    assert_close(found["map"], expected.map)
    assert (found["label"], found["target"], found["method"]) == (expected.label, expected.target, expected.method)
    assert found["grid"] == [3, 2, 5] and found["frames"] == expected.frames.tolist()
    assert np.isclose(sum(found["curve"]), 1)


@pytest.mark.parametrize(
    ("to", "kind", "start"),
    [("png", "image/png", b"\x89PNG"), ("svg", "image/svg+xml", b"<svg"), ("mp4", "video/mp4", b"\x00\x00\x00")],
)
def test_an_explanation_is_drawn(client, folder, to, kind, start):
    answer = post(client, "/v1/explain", folder / "clip.mp4", to=to)
    assert answer.headers["content-type"] == kind
    assert answer.content.startswith(start)
    assert to != "mp4" or b"ftyp" in answer.content[:12]


def test_a_timeline_is_that_of_the_library(client, folder, model):
    expected = timeline(model, folder / "clip.mp4", window=0.8, stride=0.4).to_dict()
    found = post(client, "/v1/timeline", folder / "clip.mp4", window=0.8, stride=0.4).json()
    source = expected["source"] | {"path": ""}
    assert found["source"] == source
    assert {**found, "segments": [], "source": {}} == json.loads(json.dumps({**expected, "segments": [], "source": {}}))
    assert [each["label"] for each in found["segments"]] == [each["label"] for each in expected["segments"]]


@pytest.mark.parametrize(
    ("to", "kind", "start"),
    [("svg", "image/svg+xml", "<svg"), ("vtt", "text/vtt", "WEBVTT"), ("csv", "text/csv", "path,label,start,end")],
)
def test_a_timeline_in_other_formats(client, folder, to, kind, start):
    answer = post(client, "/v1/timeline", folder / "clip.mp4", window=0.8, to=to)
    assert answer.headers["content-type"].partition(";")[0] == kind
    assert answer.text.startswith(start)


def test_the_timeline_of_a_long_video_is_a_job(client, folder, server):
    with (folder / "long.mp4").open("rb") as file:
        accepted = client.post("/v1/timeline", params={"window": 0.8}, files={"file": ("a.mp4", file, "video/mp4")})
    assert accepted.status_code == 202
    location = accepted.headers["location"]
    job = accepted.json()
    assert (job["id"], job["location"]) == (location.rpartition("/")[2], location)
    assert job["status"] in ("queued", "running")
    while (job := client.get(location).json())["status"] in ("queued", "running"):
        assert 0 <= job["progress"] < 1
    assert (job["status"], job["progress"], job["problem"]) == ("done", 1.0, None)
    assert job["result"]["source"]["path"] == "a.mp4"
    assert job["result"]["source"]["num_frames"] == 90
    problem(client.delete(location), 409, "the job is over: done")


def test_a_job_can_be_canceled(client, folder, server):
    locations = [post(client, "/v1/timeline", folder / "long.mp4", window=0.8, stride=0.01) for _ in range(3)]
    canceled = client.delete(locations[-1].headers["location"])
    assert canceled.json()["status"] == "canceled"
    for answer in locations[:-1]:
        client.delete(answer.headers["location"])
    problem(client.get("/v1/jobs/nothing"), 404, "there is no such job")


def test_the_state_of_the_server(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}


def test_metrics_count_requests_batches_and_failures(client, folder, server):
    def value(name):
        return server.metrics().get(name, 0.0)

    names = (
        'timesformer_requests_total{code="200",route="/v1/predict"}',
        'timesformer_decode_failures_total{reason="unreadable"}',
        "timesformer_batch_size_count",
        "timesformer_batch_size_sum",
        "timesformer_queue_seconds_count",
        "timesformer_decode_seconds_count",
    )
    before = [value(name) for name in names]
    post(client, "/v1/predict", folder / "clip.mp4")
    post(client, "/v1/predict", b"text " * 1000)
    assert [value(name) - start for name, start in zip(names, before, strict=True)] == [1, 1, 1, 3, 1, 2]
    assert value("timesformer_inflight") == 0
    assert client.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")


def test_the_open_inference_protocol(client, folder):
    assert client.get("/v2").json()["name"] == "timesformer"
    assert client.get("/v2/models/waving/ready").json() == {"name": "waving", "ready": True}
    metadata = client.get("/v2/models/waving").json()
    assert {each["name"]: each["shape"] for each in metadata["inputs"]} == {"video": [1], "clips": [-1, 3, 3, 8, 20]}
    video = base64.b64encode((folder / "clip.mp4").read_bytes()).decode()
    tensor = {"name": "video", "shape": [1], "datatype": "BYTES", "data": [video]}
    answer = client.post("/v2/models/waving/infer", json={"id": "7", "inputs": [tensor]}).json()
    probabilities, labels = answer["outputs"]
    predicted = post(client, "/v1/predict", folder / "clip.mp4", top_k=7).json()
    assert_close([probabilities["data"][index] for index in predicted["indices"]], predicted["probabilities"])
    assert probabilities["shape"] == [1, 7] and labels["data"] == predicted["labels"][:1]
    assert (answer["id"], answer["model_name"]) == ("7", "waving")


def test_the_open_inference_protocol_takes_clips(client, model):
    clips = np.random.default_rng(0).normal(size=(2, 3, 3, 8, 20)).astype(np.float32)
    tensor = {"name": "clips", "shape": list(clips.shape), "datatype": "FP32", "data": clips.ravel().tolist()}
    body = {"inputs": [tensor], "outputs": [{"name": "probabilities"}]}
    (output,) = client.post("/v2/models/waving/infer", json=body).json()["outputs"]
    expected = Predictor(model).logits(torch.from_numpy(clips)).softmax(dim=-1)
    assert_close(np.reshape(output["data"], output["shape"]), expected)


def test_errors_of_the_open_inference_protocol(client):
    problem(client.get("/v2/models/other"), 404, "no model of that name")
    problem(client.post("/v2/models/waving/infer", json={}), 400, "inputs is not a list of one tensor")
    problem(client.post("/v2/models/waving/infer", content=b"a"), 415, "not application/json")


def test_errors(client, folder):
    clip = folder / "clip.mp4"
    problem(client.post("/v1/predict", content=b"text", headers={"Content-Type": "text/plain"}), 415, "'text/plain'")
    problem(post(client, "/v1/predict", b""), 400, "the body is empty")
    problem(post(client, "/v1/predict", b"text " * 1000), 422, "not a video")
    problem(post(client, "/v1/predict", clip, top_k=0), 422, "top_k: Input should be greater than or equal to 1")
    problem(post(client, "/v1/predict", bytes(1_000_001)), 413, "larger than 1 MB, the limit of this server")
    problem(post(client, "/v1/explain", clip, **{"class": "wavy"}), 422, "no class 'wavy'; did you mean 'wave'")
    problem(post(client, "/v1/explain", clip, method="rollout", **{"class": "wave"}), 422, "has no effect on")
    problem(post(client, "/v1/explain", clip, method="guess"), 422, "method")
    problem(post(client, "/v1/timeline", clip), 422, "does not say how long they are")
    problem(post(client, "/v1/timeline", clip, window=9), 422, "the video lasts 1.6 s, less than one window of 9 s")
    problem(post(client, "/v1/timeline", clip, window=1, stride=2), 422, "stride=2 must be")
    problem(post(client, "/v1/embed", clip, level="pixel"), 422, "level")
    problem(client.get("/nothing"), 404, "Not Found")
    problem(client.get("/static/../app.py"), 404, "Not Found")
    wrong = client.get("/v1/predict")
    problem(wrong, 405, "Method Not Allowed")
    assert wrong.headers["allow"] == "POST"


def test_a_large_body_of_unknown_length_is_refused_while_it_is_read(client):
    sent = []

    def chunks():
        for _ in range(200):
            sent.append(100_000)
            yield bytes(100_000)

    try:
        answer = client.post("/v1/predict", content=chunks(), headers={"Content-Type": "video/mp4"})
    except httpx.TransportError:  # the connection was closed while the client was sending
        pass
    else:
        problem(answer, 413, "larger than 1 MB")
    assert sum(sent) < 20_000_000


def test_every_answer_has_security_headers(client):
    for path in ("/", "/healthz", "/nothing", "/openapi.json", "/static/app.js"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers


def test_foreign_host_headers_and_sites_are_refused(client):
    problem(client.get("/v1/model", headers={"Host": "evil.example"}), 403, "the Host header")
    problem(client.get("/v1/model", headers={"Sec-Fetch-Site": "cross-site"}), 403, "other web sites")


def test_the_description_of_the_api_names_all_routes(client):
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {
        "/healthz", "/readyz", "/metrics", "/v1/model", "/v1/predict", "/v1/explain", "/v1/timeline", "/v1/embed",
        "/v1/jobs/{id}", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/{name}", "/v2/models/{name}/ready",
        "/v2/models/{name}/infer",
    }  # fmt: skip
    for path in described["paths"].values():
        for operation in path.values():
            assert operation["description"]
            for status, response in operation["responses"].items():
                assert status.startswith("2") or list(response["content"]) == ["application/problem+json"]
    predict = described["paths"]["/v1/predict"]["post"]
    assert set(predict["requestBody"]["content"]) == {"video/mp4", "application/octet-stream", "multipart/form-data"}


def test_uploads_are_private(server):
    (private,) = Path(server.uploads).glob("timesformer-serve-*")
    assert private.stat().st_mode & 0o777 == 0o700


def test_the_client_of_the_guide_works(server, folder, monkeypatch, capsys):
    guide = (Path(__file__).parents[2] / "docs/guides/serve.md").read_text("utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    monkeypatch.chdir(folder)
    exec(program.replace("http://127.0.0.1:8000", server.url), {})
    assert re.fullmatch(r"( +\d+\.\d%  \w+\n){3}", capsys.readouterr().out)


def test_the_guide_names_routes_and_options_that_exist(client):
    guide = (Path(__file__).parents[2] / "docs/guides/serve.md").read_text("utf-8")
    paths = set(client.get("/openapi.json").json()["paths"]) | {"/openapi.json"}
    named = set(re.findall(r"(?<=[ `])(/(?:v\d[\w/{}]*|healthz|readyz|metrics|openapi\.json))", guide))
    assert named - paths == set()
    options = {f"--{name.replace('_', '-')}" for name in client.get("/v1/model").json()["limits"]}
    assert {option for option in options if f"`{option}" not in guide} == set()
