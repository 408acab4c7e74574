"""Target of child processes that read a video of the tests with little memory."""

from timesformer.data.video.reader import read_frames
from timesformer.data.video.sequential import open_feed
from videos import frame_index


def open_reader_of(kind):
    """Gives the numbers drawn into the frames of a video."""

    def frames(path):
        return tuple(frame_index(read_frames(path, [number])[0]) for number in range(12))

    def sequence(path):
        with open_feed(path) as feed:
            return tuple(frame_index(frame.pixels()) for frame in feed)

    return {"frames": frames, "sequence": sequence}[kind]
