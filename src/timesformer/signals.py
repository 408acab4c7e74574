"""Signals that ask a process to end: SIGTERM and SIGUSR1 of a scheduler, SIGHUP of a terminal that closes.

The process ends with status 128 + number, as a shell reports it, after everything temporary is removed. A signal that
is ignored, as SIGHUP under nohup, stays ignored. Windows has SIGTERM alone.
"""

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
"""The signals."""
GRACE_S = 600
"""Seconds that a data loading process outlives a signal to end, so that its parent can finish a step."""


@contextmanager
def ending_at_once(say: Callable[[str], object]) -> Generator[None]:
    """Raise `SystemExit` wherever the main thread is when a signal asks to end.

    Args:
        say: Called with a line that names the signal.
    """

    def end(number: int) -> None:
        say(f"ended by {signal.Signals(number).name}")
        raise SystemExit(128 + number)

    with _handling(end):
        yield


@dataclass(slots=True)
class EndRequest:
    """Whether a signal has asked to end."""

    number: int = 0
    """The signal; 0 if there was none."""
    listen_again: Callable[[], None] = field(default=lambda: None)
    """Installs the handlers of `listening` again, if a library has replaced them."""

    @property
    def status(self) -> int:
        """Exit status of a process that ends because of it."""
        return 128 + self.number

    @property
    def name(self) -> str:
        """Name of the signal."""
        return signal.Signals(self.number).name

    @contextmanager
    def listening(self) -> Generator[None]:
        """Store the first signal that asks to end; the second one raises `SystemExit`."""

        def request(number: int) -> None:
            if self.number:
                raise SystemExit(128 + number)
            self.number = number

        with _handling(request) as self.listen_again:
            yield


def outlive_end(worker: int = 0) -> None:
    """In a data loading process: end a while after a signal, which schedulers send to all processes at once."""
    for number in ENDING:
        signal.signal(number, lambda *_: signal.alarm(GRACE_S))


@contextmanager
def _handling(action: Callable[[int], None]) -> Generator[Callable[[], None]]:
    """Call an action at a signal in this process; its forked children end as if nothing handled the signal.

    Has no effect outside the main thread, where Python cannot handle signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    owner = os.getpid()

    def handle(number: int, _: object) -> None:
        if os.getpid() == owner:
            action(number)
            return
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    before = {number: signal.getsignal(number) for number in ENDING}
    handled = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}

    def install() -> None:
        for number in handled:
            signal.signal(number, handle)

    install()
    try:
        yield install
    finally:
        for number, handler in handled.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
