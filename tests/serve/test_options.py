"""Options of `timesformer serve`: each takes effect, and the server ends without losing a request."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

from serve_process import start, stop, wait_until_ready
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.weights.model_folder import save
from tiny import random_model, tiny_config
from videos import write_video

TOKEN = "token-of-this-test-server"
WAIT_MS, REQUEST_S = 1500, 6
OPTIONS = (
    "--max-upload-mb", "0.2", "--max-seconds", "2", "--max-pixels", "5000", "--max-frames", "40", "--max-batch", "3",
    "--max-wait-ms", str(WAIT_MS), "--queue", "2", "--decoders", "1", "--request-seconds", str(REQUEST_S),
    "--allow-codec", "magicyuv",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("limited")
    save(
        random_model(tiny_config(), info=ModelInfo(clip=ClipConfig(sampling="uniform", num_crops=1))), folder / "model"
    )
    write_video(folder / "clip.mp4", num_frames=20)
    (folder / "token").write_text(f"{TOKEN}\n")
    return folder


@pytest.fixture(scope="module")
def server(folder):
    server = start(folder / "model", folder, *OPTIONS, "--token-file", str(folder / "token"))
    try:
        wait_until_ready(server)
        yield server
    finally:
        if server.process.poll() is None:
            stop(server)


@pytest.fixture
def client(server):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=server.url, timeout=120, headers=headers, trust_env=False) as client:
        yield client


def post(client, video, path="/v1/predict"):
    return client.post(path, content=video.read_bytes(), headers={"Content-Type": "video/mp4"})


def test_requests_need_the_token(server, client):
    with httpx.Client(base_url=server.url, trust_env=False) as stranger:
        answer = stranger.get("/v1/model")
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.json()["detail"] == "this server needs a token"
        assert stranger.get("/healthz").status_code == stranger.get("/").status_code == 200
    assert client.get("/v1/model").status_code == 200


@pytest.mark.parametrize(
    ("video", "detail"),
    [
        ({"num_frames": 30, "fps": 10}, "the video lasts 3 s, longer than 2 s"),
        ({"num_frames": 41}, "the video has 41 frames, more than 40"),
        ({"height": 80}, "frames of 80x80 pixels: more than 5000 pixels"),
    ],
)
def test_larger_videos_are_refused(client, tmp_path, video, detail):
    answer = post(client, write_video(tmp_path / "a.mp4", **video))
    assert answer.status_code == 422 and answer.json()["detail"].startswith(detail)


def test_larger_files_are_refused(client, tmp_path):
    (tmp_path / "a").write_bytes(bytes(200_001))
    answer = post(client, tmp_path / "a")
    assert (answer.status_code, answer.json()["fix"]) == (413, "send a file of at most 0.2 MB")


def test_an_allowed_codec_is_decoded(client, tmp_path):
    path = write_video(tmp_path / "a.avi", codec="magicyuv", pix_fmt="gbrp")
    assert post(client, path).status_code == 200


def test_more_clips_than_a_batch_are_refused(client):
    tensor = {"name": "clips", "shape": [4, 3, 3, 8, 20], "datatype": "FP32", "data": [0]}
    answer = client.post("/v2/models/model/infer", json={"inputs": [tensor]})
    assert answer.status_code == 400 and "4 clips are more than 3" in answer.json()["detail"]


def test_there_are_as_many_decoders_as_asked_for(server, client):
    assert len(server.processes()) == 3  # the server, the process that forks, and a decoder


def test_requests_wait_for_others_and_a_full_queue_refuses(server, client, folder):
    def batches():
        found = server_metrics(client)
        return found["timesformer_batch_size_count"], found["timesformer_batch_size_sum"]

    count, size = batches()
    with ThreadPoolExecutor(2) as threads:
        begin_s = time.monotonic()
        calls = [threads.submit(post, client, folder / "clip.mp4") for _ in range(2)]
        while server_metrics(client)["timesformer_inflight"] < 2:
            assert not any(call.done() for call in calls)
        refused = post(client, folder / "clip.mp4")
        answers = [call.result() for call in calls]
    assert time.monotonic() - begin_s >= WAIT_MS / 1000
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["detail"] == "the server is busy with 2 requests, as many as it takes at a time"
    assert [answer.status_code for answer in answers] == [200, 200]
    assert batches() == (count + 1, size + 2)
    assert server_metrics(client)['timesformer_batch_dispatch_total{reason="wait"}'] >= 1


def server_metrics(client):
    lines = client.get("/metrics").text.splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def test_a_request_ends_when_its_time_is_over(server):
    head = (
        f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        "Content-Type: video/mp4\r\nContent-Length: 1000\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(head.encode() + b"the first bytes")
        answer = connection.recv(65536)
        with suppress(OSError):
            while more := connection.recv(65536):
                answer += more
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"the request took longer than 6 s, the limit of this server" in answer


def test_a_signal_ends_the_server_after_what_it_accepted(server, client, folder):
    """The last test, as it ends the server."""
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(post, client, folder / "clip.mp4")
        while server_metrics(client)["timesformer_inflight"] < 1:
            assert not call.done()
        assert stop(server) == 0
        assert call.result().status_code == 200
    assert not list(server.uploads.iterdir())
    assert "Traceback" not in server.log.read_text()
    with pytest.raises(httpx.ConnectError):
        client.get("/healthz")
