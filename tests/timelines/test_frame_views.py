"""Views of windows whose frames are kept whole."""

import numpy as np
import pytest

from timesformer.config.schema import ClipConfig
from timesformer.timelines.frame_views import clip_views, kept_frame, window_views


@pytest.mark.parametrize("channel_order", ["rgb", "time"])
def test_frames_of_a_stream_that_changes_its_size_get_that_of_the_first(channel_order):
    clip = ClipConfig(sampling="uniform", num_crops=1, region="motion", channel_order=channel_order)
    pixels = [
        np.full((*size, 3), level, dtype=np.uint8) for size, level in (((24, 40), 0), ((48, 70), 90), ((9, 9), 200))
    ]
    kept = {number: kept_frame(frame, clip, image_size=(8, 20)) for number, frame in enumerate(pixels)}
    views = window_views(kept, (0, 1, 2), clip, image_size=(8, 20))
    found = clip_views([views[number] for number in (0, 1, 2)], clip)
    assert found.shape == (1, 3, 3 if channel_order == "rgb" else 1, 8, 20)
    moments = found[0, 0] if channel_order == "rgb" else found[0, :, 0]
    assert [int(moment.float().mean()) for moment in moments] == [0, 90, 200]
