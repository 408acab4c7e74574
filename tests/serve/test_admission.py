"""Places of requests, and how many there are."""

import pytest

from timesformer.errors import ConfigError
from timesformer.serve import admission as admission_module
from timesformer.serve.admission import Admission
from timesformer.serve.calibration import places
from timesformer.serve.limits import ServeLimits
from timesformer.serve.metrics import Metrics
from timesformer.serve.problems import ProblemError


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now_s = 100.0

        def monotonic(self):
            return self.now_s

    clock = Clock()
    monkeypatch.setattr(admission_module, "time", clock)
    monkeypatch.setattr(admission_module._Ticket, "__init__", _made_at(clock))
    return clock


def _made_at(clock):
    def init(self):
        self.since_s, self.is_working = clock.now_s, False

    return init


def full(message="the server is busy with 2 requests, as many as it takes at a time"):
    return pytest.raises(ProblemError, match=message)


def test_places_are_taken_at_the_arrival_and_given_back(clock):
    admission = Admission(2, metrics=Metrics())
    first, _ = admission.enter(), admission.enter()
    with full() as caught:
        admission.enter()
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (503, "1")
    admission.leave(first)
    admission.enter()
    assert admission.num_requests == 2


def test_a_slow_upload_loses_its_place_and_asks_again(clock):
    admission = Admission(2, metrics=Metrics())
    slow = admission.enter()
    clock.now_s += 1.5
    quick = [admission.enter(), admission.enter()]
    for ticket in quick:
        admission.begin(ticket)
    with full():
        admission.begin(slow)
    admission.leave(quick[0])
    admission.begin(slow)
    clock.now_s += 100
    with full():
        admission.enter()


def test_slow_uploads_are_bounded_too(clock):
    admission = Admission(1, metrics=Metrics())
    for _ in range(16):
        admission.enter()
        clock.now_s += 2
    with full("is busy"):
        admission.enter()


def test_a_server_that_stops_admits_nobody(clock):
    admission = Admission(2, metrics=Metrics())
    ticket = admission.enter()
    admission.close()
    with full("the server is stopping"):
        admission.enter()
    admission.begin(ticket)


@pytest.mark.parametrize(
    ("seconds", "max_batch", "slowdown", "expected"),
    [
        (lambda n: 1.0 * n, 8, 3, 3),  # a batch gains nothing: one computed, one waiting, one decoded
        (lambda n: 1.0 + 0.05 * n, 8, 3, 17),  # batches are almost free
        (lambda n: 1.0 + 0.05 * n, 4, 3, 9),
        (lambda n: 1.0 + 0.25 * n, 8, 3, 5),
        (lambda n: 1.0 * n, 8, 8, 9),
        (lambda n: 1.0, 0, 3, 3),  # a video has more views than a batch
    ],
)
def test_places_follow_from_the_gain_of_batches(seconds, max_batch, slowdown, expected):
    assert places(seconds, max_batch=max_batch, max_slowdown=slowdown) == expected


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"max_upload_mb": 0}, "max_upload_mb=0 must be"),
        ({"max_seconds": -1}, "max_seconds=-1 must be"),
        ({"long_seconds": float("nan")}, "long_seconds=nan must be"),
        ({"request_seconds": float("inf")}, "request_seconds=inf must be"),
        ({"max_pixels": 0}, "max_pixels=0 must be at least 1"),
        ({"max_frames": 0}, "max_frames=0 must be at least 1"),
        ({"max_batch": 0}, "max_batch=0 must be at least 1"),
        ({"max_wait_ms": -1}, "max_wait_ms=-1 must be finite and not negative"),
        ({"queue": 0}, "queue=0 must be at least 1"),
        ({"decoders": 0}, "decoders=0 must be at least 1"),
        ({"max_slowdown": 0.5}, r"max_slowdown=0.5 must be 0 \(no limit\) or at least 1"),
    ],
)
def test_limits_out_of_range_are_errors(changed, message):
    with pytest.raises(ConfigError, match=message):
        ServeLimits(**changed)
