"""Functions that the tests of `isolation` call in child processes."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from timesformer.errors import CodecError, ConfigError
from timesformer.isolation.progress import report_progress


class OddError(Exception):
    """Cannot be unpickled."""

    def __init__(self, one, two):
        super().__init__("odd")


def ready(*names):
    """The functions below, by name; the first argument of a call says which."""
    if "refuse" in names:
        raise ConfigError("refused")
    if "crash" in names:
        crash()
    if "hang" in names:
        hang()
    return lambda name, *args: globals()[name](*args)


def ready_for_items(log=""):
    """Items are names of functions."""

    def values(names):
        for name in names:
            yield globals()[name]() if name in globals() else name.upper()

    return values


def crash():
    ctypes.string_at(0)


def hang():
    time.sleep(3600)


def spin(seconds):
    end_s = time.process_time() + seconds
    while time.process_time() < end_s:
        pass


def stop_itself():
    os.kill(os.getpid(), signal.SIGSTOP)


def end(code):
    print("farewell", file=sys.stderr)
    os._exit(code)


def end_by(name):
    os.kill(os.getpid(), getattr(signal, name))


def allocate(num_bytes):
    return len(bytearray(num_bytes))


def process():
    return os.getpid()


def echo(value):
    return value


def double(array):
    return 2 * array


def twice(*, value):
    return 2 * value


def raise_codec_error():
    raise CodecError("a.avi: rare", codec="magicyuv")


def raise_os_error():
    raise FileNotFoundError(2, "No such file", "a.txt")


def raise_odd_error():
    raise OddError(1, 2)


def return_a_lambda():
    return lambda: 0


def write(path):
    with open(path, "w") as file:
        file.write("x")


def open_files(number):
    return len([os.open(os.devnull, os.O_RDONLY) for _ in range(number)])


def print_much(size):
    print("x" * size)
    print("last line", file=sys.stderr, flush=True)
    return size


def be_slow(num_steps, step_s):
    for _ in range(num_steps):
        time.sleep(step_s)
        report_progress()
    return num_steps


def count(number):
    yield from range(number)


def count_then_crash(number):
    yield from range(number)
    crash()


def close_all():
    os.closerange(3, 100)
    hang()


def write_garbage():
    for descriptor in range(3, 20):
        try:
            os.write(descriptor, b"\xff" * 100)
        except OSError:
            continue
    hang()


def imported():
    return sorted(sys.modules)


def state():
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return lines["NoNewPrivs"].strip(), Path("/proc/self/oom_score_adj").read_text().strip()


def core_limit():
    import resource

    return resource.getrlimit(resource.RLIMIT_CORE)


def run_a_program():
    return subprocess.run(["true"], check=True).returncode
