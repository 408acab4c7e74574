"""Times of a video as people write them, and the ticks of a time axis."""

_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
_MAX_TICKS = 10


def clock(seconds: float) -> str:
    """A time such as `12.3 s`, `2:05` or `1:02:05`, rounded down from a minute on."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def time_unit(duration: float) -> str:
    """Unit of the labels of `time_ticks`."""
    return "s" if duration < 60 else "min:s" if duration < 3600 else "h:min"


def time_ticks(duration: float) -> list[tuple[float, str]]:
    """Round times from 0 to the end of a video, in seconds, and their labels: 4 to 10 up to a week.

    Args:
        duration: Length of the video in seconds, greater than 0.
    """
    step = next((step for step in _STEPS if duration / step < _MAX_TICKS), 0) or _days(duration)
    times = [number * step for number in range(int(duration / step + 1e-9) + 1)]
    return [(time, _label(time, duration)) for time in times]


def _days(duration: float) -> float:
    days = 1
    while duration / (86400 * days) >= _MAX_TICKS:
        days *= 2
    return 86400.0 * days


def _label(time: float, duration: float) -> str:
    unit = time_unit(duration)
    if unit == "s":
        return f"{round(time, 3):g}"
    large, small = divmod(round(time), 60) if unit == "min:s" else divmod(round(time / 60), 60)
    return f"{large}:{small:02}"
