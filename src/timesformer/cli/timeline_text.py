"""Lines of `timesformer timeline`."""

from timesformer.timelines.timeline import Gap, LabeledSegment


def segment_text(segment: LabeledSegment, *, width: int) -> str:
    """A segment, its label filled up to `width`."""
    return f"{clock_text(segment.start)}-{clock_text(segment.end)}  {segment.label:{width}}  {segment.score:.0%}"


def gap_text(gap: Gap) -> str:
    """A gap and its reason."""
    return f"gap {clock_text(gap.start)}-{clock_text(gap.end)}: {gap.reason}"


def clock_text(seconds: float) -> str:
    """Minutes and seconds to a hundredth, with hours from the first on: `0:12.40`, `1:02:03.00`."""
    hundredths = round(seconds * 100)
    minutes, rest = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{start}:{rest // 100:02}.{rest % 100:02}"
