"""Bodies of the Open Inference Protocol."""

import base64
import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from timesformer.serve.oip_request import BadRequestError, read_infer_request

SHAPE = (3, 2, 4, 5)
SIZE = 3 * 2 * 4 * 5


def read(folder, body, *, max_clips=2):
    path = folder / "body"
    path.write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
    return read_infer_request(path, clip_shape=SHAPE, max_clips=max_clips)


def clips(count=1, **changes):
    data = [index / 7 for index in range(count * SIZE)]
    return {"inputs": [{"name": "clips", "shape": [count, *SHAPE], "datatype": "FP32", "data": data} | changes]}


def video(**changes):
    data = [base64.b64encode(b"content").decode()]
    return {"inputs": [{"name": "video", "shape": [1], "datatype": "BYTES", "data": data} | changes]}


def test_clips_are_read_in_row_major_order(tmp_path):
    found = read(tmp_path, clips(2))
    np.testing.assert_array_equal(found.clips, (np.arange(2 * SIZE) / 7).astype(np.float32).reshape(2, *SHAPE))
    assert (found.id, found.video, found.outputs) == (None, None, ("probabilities", "labels"))


def test_nested_data_is_read_alike(tmp_path):
    nested = np.arange(SIZE, dtype=float).reshape(1, *SHAPE).tolist()
    np.testing.assert_array_equal(read(tmp_path, clips(data=nested)).clips.ravel(), np.arange(SIZE))


def test_a_video_is_read_from_base64(tmp_path):
    found = read(tmp_path, {**video(), "id": "7", "outputs": [{"name": "labels"}], "parameters": {"priority": 1}})
    assert (found.video, found.id, found.outputs, found.clips) == (b"content", "7", ("labels",), None)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "the body is not JSON"),
        (b"\xff", "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        ([], "not a JSON object"),
        ({}, "inputs is not a list of one tensor"),
        ({"inputs": []}, "inputs is not a list of one tensor"),
        ({"inputs": [1]}, "inputs is not a list of one tensor"),
        ({"inputs": 2 * clips()["inputs"]}, "inputs is not a list of one tensor"),
        (clips(name="pixels"), "'pixels' is neither `video` nor `clips`"),
        (clips(shape=None), "shape is not a list of whole numbers"),
        (clips(shape=[True, *SHAPE]), "shape is not a list of whole numbers"),
        (clips(shape=[0, *SHAPE]), "shape is not a list of whole numbers"),
        (clips(shape=[1, 3, 2, 5, 4]), r"clips of shape \[1, 3, 2, 5, 4\] do not fit"),
        (clips(3), "3 clips are more than 2, the largest batch"),
        (clips(datatype="FP16"), "datatype of `clips` is not FP32"),
        (clips(data=[1.0]), "has 1 numbers, not 120"),
        (clips(data=["a"]), "not a list of numbers"),
        (clips(data=[[1], [1, 2]]), "not a list of numbers"),
        (clips(data=[1e300] * SIZE), "do not fit float32"),
        (b'{"inputs": [{"name": "clips", "data": [NaN]}]}', "NaN is not a number of JSON"),
        (video(shape=[2]), r"BYTES of shape \[1\]"),
        (video(datatype="FP32"), r"BYTES of shape \[1\]"),
        (video(data="x"), "a list of one string"),
        (video(data=["*"]), "is not base64"),
        ({**video(), "id": 3}, "id is not a string"),
        ({**video(), "outputs": "labels"}, "outputs is not a list of objects"),
        ({**video(), "outputs": [{"name": "logits"}]}, "'logits' is not one of probabilities, labels"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_what_is_wrong_is_told(tmp_path, body, message):
    with pytest.raises(BadRequestError, match=message):
        read(tmp_path, body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.sampled_from(["clips", "video", "FP32", "BYTES"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["inputs", "name", "shape", "datatype", "data", "outputs", "id"]), inner)
    ),
    max_leaves=20,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=JSON)
def test_no_json_is_another_error(tmp_path, body):
    with suppress(BadRequestError):
        read(tmp_path, body)
