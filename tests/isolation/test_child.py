"""Functions in child processes: values, errors, deaths, limits."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer

import numpy as np
import pytest

from timesformer.errors import CodecError, ConfigError, ProcessError
from timesformer.isolation import child as child_module
from timesformer.isolation import waiting
from timesformer.isolation.child import Child, isolated
from timesformer.isolation.limits import Limits
from timesformer.isolation.processes import ForkServer, NewProcesses

MIB = 2**20
HERE = str(Path(__file__).parent)


@pytest.fixture(autouse=True)
def _targets(monkeypatch):
    monkeypatch.syspath_prepend(HERE)


@pytest.fixture(params=[ForkServer, NewProcesses])
def starter(request):
    with request.param("targets:ready") as starter:
        yield starter


@pytest.fixture
def child():
    with isolated("targets:ready") as child:
        yield child


def test_a_call_returns_the_value_of_the_function(starter):
    with Child(starter) as child:
        assert child.call("echo", {"a": [1, None]}) == {"a": [1, None]}
        assert child.call("echo", ()) == ()


def test_calls_use_one_process_which_is_another(child):
    first = child.call("process")
    assert child.call("process") == first != os.getpid()


@pytest.mark.parametrize("shape", [(), (0, 3), (5, 7, 3), (3, 400, 500, 3)])
def test_arrays_go_and_come_back_whole_and_writable(starter, shape):
    array = np.random.default_rng(0).integers(0, 100, shape, dtype=np.uint8)
    with Child(starter) as child:
        doubled = child.call("double", array)
    np.testing.assert_array_equal(doubled, 2 * array)
    assert np.shape(doubled) == shape


def test_an_error_of_the_project_comes_back_as_itself(starter):
    with Child(starter) as child:
        with pytest.raises(CodecError, match=r"^a\.avi: rare$") as caught:
            child.call("raise_codec_error")
        assert caught.value.codec == "magicyuv"
        assert child.call("echo", 1) == 1


def test_other_errors_come_back_too_and_the_process_goes_on(child):
    before = child.call("process")
    with pytest.raises(FileNotFoundError, match=r"\[Errno 2\] No such file: 'a.txt'") as caught:
        child.call("raise_os_error")
    assert "in raise_os_error" in "".join(caught.value.__notes__)
    with pytest.raises(RuntimeError, match="OddError: odd"):
        child.call("raise_odd_error")
    with pytest.raises((AttributeError, RuntimeError), match="pickle"):
        child.call("return_a_lambda")
    assert child.call("process") == before


@pytest.mark.parametrize(
    ("call", "message", "name"),
    [
        (("crash",), "crashed (SIGSEGV)", "SIGSEGV"),
        (("end_by", "SIGABRT"), "crashed (SIGABRT)", "SIGABRT"),
        (("end_by", "SIGILL"), "crashed (SIGILL)", "SIGILL"),
        (("end_by", "SIGKILL"), "was killed (SIGKILL)", "SIGKILL"),
        (("end_by", "SIGRTMIN"), "crashed (SIGRTMIN)", "SIGRTMIN"),
        (("end", 3), "ended with exit code 3", ""),
    ],
)
def test_a_death_is_an_error_and_the_next_call_works(starter, call, message, name):
    with Child(starter) as child:
        with pytest.raises(ProcessError) as caught:
            child.call(*call)
        assert (str(caught.value), caught.value.signal) == (message, name)
        assert child.call("echo", "again") == "again"


def test_the_last_lines_of_stderr_come_with_a_death(starter):
    with Child(starter) as child:
        child.call("print_much", 10)
        with pytest.raises(ProcessError) as caught:
            child.call("end", 1)
        assert caught.value.stderr.endswith("last line\nfarewell")
        with pytest.raises(ProcessError) as caught:
            child.call("crash")
        assert "Segmentation fault" in caught.value.stderr and "in crash" in caught.value.stderr
        assert "farewell" not in caught.value.stderr


def test_prints_mix_with_nothing_and_block_nothing(starter):
    with Child(starter) as child:
        assert child.call("print_much", 3 * MIB) == 3 * MIB
        assert child.call("echo", 2) == 2


@pytest.mark.parametrize("name", ["hang", "stop_itself"])
def test_a_call_without_a_result_is_killed(starter, name):
    with Child(starter, limits=Limits(call_s=0.2)) as child:
        before = child.call("process")
        with pytest.raises(ProcessError, match=r"^gave no result for 0\.2 s$") as caught:
            child.call(name)
        assert caught.value.signal == ""
        assert not Path(f"/proc/{before}").exists()
        assert child.call("echo", 1) == 1


def test_progress_restarts_the_time(starter):
    with Child(starter, limits=Limits(call_s=1.2)) as child:
        assert child.call("be_slow", 4, 0.6) == 4


def test_progress_does_not_extend_the_time_of_a_call(starter):
    with Child(starter, limits=Limits(total_s=0.7)) as child:
        with pytest.raises(ProcessError, match=r"^took more than 0\.7 s$"):
            child.call("be_slow", 1000, 0.1)
        assert child.call("echo", 1) == 1


def test_values_of_a_generator_come_one_by_one(starter):
    with Child(starter) as child:
        assert list(child.stream("count", 3)) == [0, 1, 2]
        assert list(child.stream("count", 0)) == []
        values = child.stream("count_then_crash", 2)
        assert [next(values), next(values)] == [0, 1]
        with pytest.raises(ProcessError, match="SIGSEGV"):
            next(values)
        assert list(child.stream("count", 1)) == [0]


def test_a_stream_that_is_left_does_not_mix_with_the_next_call(starter):
    with Child(starter) as child:
        values = child.stream("count", 1000)
        assert next(values) == 0
        values.close()
        assert child.call("echo", "new") == "new"


def test_a_generator_is_not_called(child):
    with pytest.raises(ProcessError, match=r"a generator must be read by stream\(\)"):
        child.call("count", 1)


def test_memory_over_the_limit_is_told_as_such(starter):
    with Child(starter, limits=Limits(memory=100 * MIB)) as child:
        assert child.call("allocate", 50 * MIB) == 50 * MIB
        with pytest.raises(ProcessError, match=r"^needed more than 100 MiB of memory$"):
            child.call("allocate", 150 * MIB)
        assert child.call("allocate", 50 * MIB) == 50 * MIB


@pytest.mark.parametrize("kind", [ForkServer, NewProcesses])
def test_memory_of_imports_does_not_count(kind):
    limits = Limits(memory=16 * MIB)  # numpy takes more
    with kind("targets_numpy:ready") as starter, Child(starter, limits=limits) as child:
        assert child.call(MIB) == MIB
        with pytest.raises(ProcessError, match="more than 16 MiB"):
            child.call(32 * MIB)


def test_files_are_written_only_if_allowed(starter, tmp_path):
    with Child(starter) as child:
        with pytest.raises(OSError, match="File too large"):
            child.call("write", tmp_path / "a")
        assert child.call("echo", 1) == 1
    with Child(starter, limits=Limits(may_write=True)) as child:
        child.call("write", tmp_path / "a")
    assert (tmp_path / "a").read_text() == "x"


def test_open_files_are_limited(starter):
    with Child(starter, limits=Limits(open_files=32)) as child:
        assert child.call("open_files", 8) == 8
        with pytest.raises(OSError, match="Too many open files"):
            child.call("open_files", 40)


def test_a_child_gains_no_rights_dumps_no_core_and_is_killed_first(starter):
    with Child(starter) as child:
        assert child.call("state") == ("1", "1000")
        assert child.call("core_limit") == (0, 0)
        assert child.call("run_a_program") == 0


@pytest.mark.parametrize(
    ("name", "message"), [("close_all", "was killed"), ("write_garbage", "cannot be read|was killed")]
)
def test_a_child_that_breaks_its_channel_is_replaced(starter, name, message):
    with Child(starter, limits=Limits(call_s=5)) as child:
        with pytest.raises(ProcessError, match=message):
            child.call(name)
        assert child.call("echo", 1) == 1


def test_an_error_of_the_target_is_raised_by_the_first_call_and_again(starter):
    with Child(starter, setup=("refuse",)) as child:
        for _ in range(2):
            with pytest.raises(ConfigError, match=r"^refused$"):
                child.call("echo", 1)


def test_a_target_that_crashes_or_hangs_is_an_error(starter):
    with Child(starter, setup=("crash",)) as child, pytest.raises(ProcessError, match=r"crashed \(SIGSEGV\)"):
        child.start()
    slow = Child(starter, setup=("hang",), limits=Limits(start_s=0.2))
    with slow as child, pytest.raises(ProcessError, match=r"^did not start within 0\.2 s$"):
        child.start()


@pytest.mark.parametrize("kind", [ForkServer, NewProcesses])
def test_a_target_that_does_not_exist_is_an_error(kind):
    error = pytest.raises(ModuleNotFoundError, match="no_such_module")
    with kind("no_such_module:ready") as starter, Child(starter) as child, error:
        child.call("echo", 1)


def test_a_fork_server_that_was_killed_is_replaced():
    with ForkServer("targets:ready") as starter, Child(starter) as child:
        assert child.call("echo", 1) == 1
        starter._importer._process.kill()
        with pytest.raises(ProcessError, match=r"was killed \(SIGKILL\)"):
            child.call("hang")
        assert child.call("echo", 2) == 2


def test_a_fork_server_that_dies_at_its_imports_is_an_error():
    error = pytest.raises(ProcessError, match=r"^the process that imports targets_that_exit:ready died$")
    with ForkServer("targets_that_exit:ready") as starter, Child(starter) as child, error:
        child.call("echo", 1)


def test_processor_time_is_limited_for_each_call():
    with isolated("targets:ready", limits=Limits(cpu_s=1)) as child:
        pid = child.call("process")
        for _ in range(3):
            child.call("spin", 0.5)
        assert child.call("process") == pid
        with pytest.raises(ProcessError, match=r"^used more than 1 s of processor time$"):
            child.call("spin", 30)
        assert child.call("echo", 1) == 1


def test_an_interrupted_call_ends_and_the_next_one_works(starter):
    with Child(starter) as child:
        child.start()
        Timer(0.1, child.interrupt).start()
        with pytest.raises(ProcessError, match=r"was killed \(SIGKILL\)"):
            child.call("hang")
        assert child.call("echo", 1) == 1


def test_an_interrupt_after_a_call_costs_the_next_one_nothing(starter):
    with Child(starter) as child:
        before = child.call("process")
        child.interrupt()
        child.start()
        assert child.call("process") != before


def test_nothing_is_interrupted_before_the_first_call(starter):
    with Child(starter) as child:
        child.interrupt()
        assert child.call("echo", 1) == 1


def test_the_end_of_the_block_kills_the_process(starter):
    with Child(starter) as child:
        pid = child.call("process")
    assert not Path(f"/proc/{pid}").exists()


def test_a_stopped_child_stays_stopped(starter):
    with Child(starter) as child:
        child.start()
        child.stop()
        with pytest.raises(ProcessError, match="killed"):
            child.call("echo", 1)
        with pytest.raises(ProcessError, match="stopped"):
            child.call("echo", 1)


@pytest.mark.parametrize(("kind", "name"), [("ForkServer", "echo"), ("ForkServer", "hang"), ("NewProcesses", "echo")])
def test_no_process_outlives_a_parent_that_is_killed(kind, name):
    code = f"""
import sys; sys.path.insert(0, {HERE!r})
from timesformer.isolation.child import Child
from timesformer.isolation.processes import {kind}
with {kind}("targets:ready") as starter, Child(starter) as child:
    print(child.call("process"), flush=True)
    child.call({name!r}, *[1] * ({name!r} == "echo"))
    sys.stdin.read()
"""
    command = [sys.executable, "-c", code]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    end = time.monotonic() + 60
    while _runs(pid):
        assert time.monotonic() < end
        time.sleep(0.01)


def _runs(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_ctrl_c_reaches_the_parent_only(child):
    pid = child.call("process")
    os.kill(pid, signal.SIGINT)
    assert child.call("process") == pid


def test_a_system_that_cannot_wait_for_a_pipe_kills_by_a_timer(monkeypatch):
    monkeypatch.setattr(waiting, "_CAN_POLL", False)
    with NewProcesses("targets:ready") as starter, Child(starter, limits=Limits(call_s=0.3)) as child:
        assert child.call("echo", 1) == 1
        with pytest.raises(ProcessError, match=r"^gave no result for 0\.3 s$"):
            child.call("hang")
        with pytest.raises(ProcessError, match=r"^ended with exit code 4$"):
            child.call("end", 4)


def test_a_child_imports_its_target_and_little_else(child):
    heavy = {"torch", "numpy", "av", "rich", "PIL", "pydantic", "multiprocessing"}
    assert not heavy & set(child.call("imported"))


def test_modules_in_the_working_folder_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "pickle.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    with isolated("targets:ready") as child:
        assert child.call("echo", 1) == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"memory": -1}, r"memory=-1 must be 0 \(no limit\) or more bytes"),
        ({"call_s": 0}, r"call_s=0 must be more than 0 seconds"),
        ({"cpu_s": 0}, r"cpu_s=0 must be more than 0 seconds"),
        ({"total_s": -1}, r"total_s=-1 must be more than 0 seconds"),
        ({"start_s": float("nan")}, r"start_s=nan must be more than 0 seconds"),
        ({"open_files": 3}, r"open_files=3 must be at least 16"),
    ],
)
def test_limits_out_of_range_are_errors(changed, message):
    with pytest.raises(ConfigError, match=message):
        Limits(**changed)


def test_the_time_may_be_unlimited():
    with isolated("targets:ready", limits=Limits(call_s=float("inf"))) as child:
        assert child.call("echo", 1) == 1


def test_sizes_are_told_in_round_numbers():
    assert [child_module._size(size) for size in (2**20, 3 * 2**29, 2**33)] == ["1 MiB", "1.5 GiB", "8 GiB"]
