"""A Ray cluster: the one at an address, or one on this machine for the time of a `with` block."""

import gc
import ipaddress
import logging
import os
import signal
import socket
import subprocess
import tempfile
import threading
import warnings
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from timesformer.errors import ConfigError, DependencyError, TimeSformerError

OBJECT_STORE_BYTES = 128 * 2**20
"""Object store of a local cluster; paths and rows need little."""
_LONGEST_TEMP = 23
"""A longer temporary folder makes the paths of Ray's sockets exceed the 103 bytes that macOS allows (Linux: 107)."""
_ATTEMPTS = 3
"""Attempts to start a cluster."""
_REACH_S = 10.0
"""Time limit for connecting to a given address."""
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
# The address of a node is that of its network card, even if 127.0.0.1 is given, unless clusters of machines are
# switched off, as they are on Windows and macOS. Ray's servers listen on that address, or on all.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
_BEHAVIOR = {
    # Two of Ray's processes outlive a kill of the others by this time, in which they try to report it.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
    # Workers of Ray give way to all other processes (nice 15), so that they exceed their time on a busy machine.
    "RAY_worker_niceness": "0",
    # A busy machine misses heartbeats, after which its only node would count as dead.
    "RAY_health_check_failure_threshold": "1000",
}
# Processes that end slowly may write once more.
_REMOVE = 'cat > /dev/null; for i in $(seq 60); do rm -rf "$1"; sleep 1; [ -e "$1" ] || exit 0; done'


@dataclass(frozen=True, slots=True, kw_only=True)
class RayCluster:
    """A cluster that the process is connected to."""

    ray: ModuleType
    is_own: bool
    """Whether it was started for this block, on this machine."""

    def nodes(self) -> list[dict[str, float]]:
        """Resources of each machine, such as `{"CPU": 8.0, "GPU": 1.0}`."""
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]


def require_ray() -> None:
    """Check that Ray is installed, without importing it.

    Raises:
        DependencyError: It is not.
    """
    if not find_spec("ray") or not find_spec("pyarrow"):
        raise DependencyError("the engine 'ray' needs Ray: pip install 'timesformer[ray]'")


@contextmanager
def ray_cluster(address: str | None = None, *, num_cpus: int | None = None) -> Generator[RayCluster]:
    """Connect to a Ray cluster, or start one on this machine.

    A cluster that the process is connected to already is used and left connected. A local cluster listens on the
    loopback interface only, asks for a token that only it knows, reports no usage, has no dashboard and a small object
    store, and is gone at the end, also if the process is killed.

    Args:
        address: Address of a cluster, such as `auto` or `10.0.0.1:6379`; None for that in `RAY_ADDRESS` or, without
            it, a local cluster. `local` is a local cluster even if `RAY_ADDRESS` is set.
        num_cpus: CPUs of a local cluster; None for those of the machine.

    Raises:
        DependencyError: Ray is not installed.
        ConfigError: There is no cluster at the address, or Ray was imported in a way that its servers would listen on
            the network.
    """
    require_ray()
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    with ExitStack() as stack:
        stack.enter_context(_environment(_QUIET))
        if address == "local":
            stack.enter_context(_environment(_LOOPBACK | _BEHAVIOR))
        import ray

        is_new = not ray.is_initialized()
        if is_new:
            start = _local(ray, num_cpus=num_cpus) if address == "local" else _connected(ray, address)
            stack.enter_context(start)
        yield RayCluster(ray=ray, is_own=is_new and address == "local")


@contextmanager
def _local(ray: ModuleType, *, num_cpus: int | None) -> Generator[None]:
    if not ipaddress.ip_address(ray.util.get_node_ip_address()).is_loopback:
        raise ConfigError(
            "Ray was imported before timesformer could keep it from listening on the network: set "
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 before the import, or call ray.init() yourself"
        )
    with _folder() as folder, _environment({"RAY_AUTH_TOKEN": _token()}):
        try:
            _start(ray, folder, num_cpus=num_cpus)
            yield
        finally:
            ray.shutdown()


@cache
def _token() -> str:
    """The token of local clusters: one for this process, because Ray reads it once."""
    return os.urandom(32).hex()


def _start(ray: ModuleType, folder: Path, *, num_cpus: int | None) -> None:
    reason = ""
    for attempt in range(_ATTEMPTS):
        session = folder / str(attempt)
        session.mkdir()
        reason = _attempt(ray, session, num_cpus=num_cpus)
        if not reason:
            return
        _end_processes(session)
    raise TimeSformerError(f"Ray did not start: {reason}")


def _attempt(ray: ModuleType, session: Path, *, num_cpus: int | None) -> str:
    """Start a cluster, and say why it did not start; empty if it did."""
    try:
        _init(
            ray, session / "start.log", address="local", num_cpus=num_cpus, include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES, _node_ip_address="127.0.0.1", _temp_dir=str(session),
        )  # fmt: skip
    except Exception as error:  # of a busy machine, where Ray waits 30 s; the error has no class of its own
        return _first_line(error)
    return ""


def _end_processes(session: Path) -> None:
    """End the processes of a cluster that did not start, which Ray leaves."""
    import psutil

    for process in psutil.Process().children():
        with suppress(psutil.Error):
            if any(f"{session}{os.sep}" in argument for argument in process.cmdline()):
                process.kill()
                process.wait()
    with warnings.catch_warnings(category=ResourceWarning, action="ignore"):
        gc.collect()  # Ray has lost sight of these processes, of which Python would warn at any later time


@contextmanager
def _connected(ray: ModuleType, address: str) -> Generator[None]:
    if urlsplit(address).scheme == "ray":
        raise ConfigError(
            f"{address}: the Ray client is not supported; run the command on a machine of the cluster, "
            "for example with `ray job submit`"
        )
    with tempfile.TemporaryDirectory() as folder:
        try:
            _reach(ray, address)
            _init(ray, Path(folder) / "start.log", address=address)
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(f"no Ray cluster at {address}: {_first_line(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _reach(ray: ModuleType, address: str) -> None:
    """Check that something listens at an address, for which Ray itself tries for a quarter of an hour.

    Raises:
        OSError: Nothing does.
    """
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return  # `auto`, and what Ray refuses
    # a cluster of this machine may listen on its network card only, whose address Ray takes for 127.0.0.1
    hosts = [host.strip("[]"), *([ray.util.get_node_ip_address()] if host in ("localhost", "127.0.0.1") else [])]
    refusals = [_refusal(each, int(port)) for each in hosts]
    if refusals[0] is not None and None not in refusals:
        raise refusals[0]


def _refusal(host: str, port: int) -> OSError | None:
    """Why a port cannot be reached; None if it can."""
    try:
        socket.create_connection((host, port), timeout=_REACH_S).close()
    except OSError as error:
        return error
    return None


def _init(ray: ModuleType, log: Path, **options: Any) -> None:
    """`ray.init` without its output and its handler of SIGTERM."""
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with _stderr_to(log):
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    finally:
        if is_main and handler is not None:
            signal.signal(signal.SIGTERM, handler)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def _environment(values: Mapping[str, str]) -> Generator[None]:
    """Environment variables of the block; those that the user set stay."""
    added = [name for name in values if name not in os.environ]
    os.environ.update({name: values[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _stderr_to(path: Path) -> Generator[None]:
    """Send what C++ code prints to stderr into a file."""
    saved = os.dup(2)
    try:
        with path.open("wb") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@contextmanager
def _folder() -> Generator[Path]:
    """A folder for Ray's sockets and logs, which another process removes at the end, also if this one is killed."""
    base = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix="ray-", dir=base if len(os.fsencode(base)) <= _LONGEST_TEMP else "/tmp")
    remover = subprocess.Popen(
        ["sh", "-c", _REMOVE, "sh", folder],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield Path(folder)
    finally:
        assert remover.stdin is not None
        with suppress(OSError):
            remover.stdin.close()
        remover.wait()
