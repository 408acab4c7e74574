"""Files that a timeline is written to."""

FORMATS = {
    "json": ".json",
    "csv": ".csv",
    "vtt": ".vtt",
    "srt": ".srt",
    "eaf": ".eaf",
    "activitynet": ".activitynet.json",
    "labelstudio": ".labelstudio.json",
    "svg": ".svg",
    "mp4": ".timeline.mp4",
}
"""File name extension of each format, by its name; see `timesformer.timelines.formats.write`."""
