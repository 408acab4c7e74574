"""Views of many videos in batches: any mix gives what each video gives alone, in order and within bounded memory."""

import weakref
from collections.abc import Iterator

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from timesformer.data.video.file_reader import VideoInfo
from timesformer.inference.view_batches import Computed, ReadVideo, compute_views

INFO = VideoInfo(num_frames=3, fps=25.0, height=4, width=6, duration_s=0.12, rotation=0)

pieces = st.lists(st.integers(1, 5), min_size=1, max_size=4)
"""Number of views of each piece of a video."""
videos = st.lists(st.tuples(pieces, st.sampled_from(["whole", "cut", "error"])), max_size=8)
"""Videos that can be read, that end in an error after their pieces, and errors instead of videos."""


def views_of(video: int, first: int, count: int) -> Tensor:
    """Views whose first pixel holds the number of the video, and whose last one that of the view."""
    views = torch.zeros(count, 3, 2, 1, 1, dtype=torch.uint8)
    views[:, 0, 0] = video
    views[:, -1, -1, 0, 0] = torch.arange(first, first + count)
    return views


def read(number: int, sizes: list[int], ending: str) -> ReadVideo | str:
    """A video as a reader gives it."""
    if ending == "error":
        return f"error {number}"

    def rest() -> Iterator[Tensor | str]:
        for index in range(1, len(sizes)):
            yield views_of(number, sum(sizes[:index]), sizes[index])
        if ending == "cut":
            yield f"cut {number}"

    return ReadVideo(f"{number}", views_of(number, 0, sizes[0]), INFO, rest=rest())


def numbers(batch: Tensor) -> tuple[Tensor, ...]:
    """Stands in for the model: the numbers of video and view."""
    return batch[:, 0, 0, 0, 0].long(), batch[:, -1, -1, 0, 0].long()


@given(videos=videos, batch_size=st.integers(1, 9))
def test_any_mix_of_videos_gives_the_views_of_each_in_order(videos, batch_size: int):
    batches: list[int] = []

    def compute(batch: Tensor) -> tuple[Tensor, ...]:
        batches.append(len(batch))
        return numbers(batch)

    given_videos = [read(number, *video) for number, video in enumerate(videos)]
    found = list(compute_views(given_videos, compute, batch_size=batch_size))
    assert len(found) == len(videos)
    for number, ((sizes, ending), each) in enumerate(zip(videos, found, strict=True)):
        if ending != "whole":
            assert each == f"{ending} {number}"
            continue
        assert isinstance(each, Computed)
        of_video, of_view = each.joined()
        assert of_video.tolist() == [number] * sum(sizes)
        assert of_view.tolist() == [*range(sum(sizes))]
    assert all(size == batch_size for size in batches[:-1])


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=30), batch_size=st.integers(1, 9))
def test_views_that_wait_are_no_more_than_a_batch_and_a_piece(sizes: list[int], batch_size: int):
    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
    most = 0

    def rest() -> Iterator[Tensor]:
        nonlocal most
        for size in sizes:
            views = torch.zeros(size, 3, 2, 1, 1, dtype=torch.uint8)
            alive.add(views)
            most = max(most, sum(len(each) for each in alive))
            yield views
            del views

    video = ReadVideo("a", torch.zeros(2, 3, 2, 1, 1, dtype=torch.uint8), INFO, rest=rest())
    (found,) = compute_views([video], numbers, batch_size=batch_size)
    assert isinstance(found, Computed)
    assert len(found.joined()[0]) == 2 + sum(sizes)
    assert most <= batch_size + 2 * max(sizes)  # the last one waits, and the next one is read


def test_what_is_kept_is_chosen_by_the_number_of_the_view():
    def keep(tensors: tuple[Tensor, ...], views: range) -> tuple[Tensor, ...]:
        return tuple(tensor[[number in (1, 4) for number in views]] for tensor in tensors)

    (found,) = compute_views([read(7, [2, 3], "whole")], numbers, batch_size=2, keep=keep)
    assert isinstance(found, Computed)
    assert [tensor.tolist() for tensor in found.joined()] == [[7, 7], [1, 4]]


def test_a_video_comes_as_soon_as_its_batch_is_computed():
    asked: list[int] = []

    def endless() -> Iterator[ReadVideo | str]:
        for number in range(1000):
            asked.append(number)
            yield read(number % 200, [2], "whole")

    found = compute_views(endless(), numbers, batch_size=4)
    next(found)
    assert asked == [0, 1]
