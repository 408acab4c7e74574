"""The map of an index: which rows it shows, and its page in a browser."""

import re
from contextlib import contextmanager

import numpy as np
import pytest

from browsers import visit
from embedding_files import write_embeddings
from timesformer.errors import ConfigError, DataError
from timesformer.retrieval.index import Index
from timesformer.retrieval.map import make_map
from timesformer.retrieval.map_page import write_map
from videos import write_video

LABELS = ["clap", "wave", "<b>bow</b>", "sit"]
NUM = 40


def vectors(num=NUM, *, seed=0):
    """Four clusters, one for each class, the rows in the order of the classes."""
    generator = np.random.default_rng(seed)
    centers = 5 * generator.standard_normal((4, 1, 6))
    return (centers + 0.3 * generator.standard_normal((4, num // 4, 6))).reshape(num, 6).astype(np.float16)


def opened(file, /, **columns):
    labels = [LABELS[number // (NUM // 4)] for number in range(NUM)]
    return Index.open(write_embeddings(file, vectors(), **{"true_label": labels} | columns), columns=None)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A map of 40 clips of four classes; the video of the first is there, and its second half is the second clip."""
    folder = tmp_path_factory.mktemp("map")
    video = str(write_video(folder / "first.mp4", num_frames=10, fps=10))
    paths = [video, video, *(f"videos/</script>{number}.mp4" for number in range(2, NUM))]
    starts, ends = [None, 0.5, *[None] * (NUM - 2)], [None, 1.0, *[None] * (NUM - 2)]
    index = opened(folder / "rows.parquet", path=paths, start=starts, end=ends)
    assert write_map(make_map(index), folder / "map.html", title="My <map>") == NUM - 2
    return folder / "map.html"


@pytest.fixture
def map_page(chromium, page):
    @contextmanager
    def opening(**settings):
        with visit(chromium, page.as_uri(), reduced_motion="reduce", **settings) as visited:
            yield visited.page

    return opening


def shown(page):
    return page.evaluate("points.filter((point) => point.style.display !== 'none').length")


def test_every_clip_is_a_point_in_the_color_and_shape_of_its_class(map_page):
    with map_page() as page:
        assert page.locator("h1").inner_text() == "My <map>"
        assert page.locator("#plot .point").count() == NUM
        assert page.locator("#legend li").all_inner_texts() == [f"{name}\n10" for name in sorted(LABELS)]
        fills = page.evaluate("points.map((point) => getComputedStyle(point).fill)")
        assert [len(set(fills[start : start + 10])) for start in range(0, NUM, 10)] == [1, 1, 1, 1]
        assert len(set(fills)) == 4


def test_points_of_a_class_lie_together_in_both_layouts(map_page):
    for layout in ("tsne", "pca"):
        with map_page() as page:
            page.locator(f"input[value={layout}]").check()
            places = np.array(page.evaluate("points.map((_, index) => place(index))"))
            squares = np.square(places[:, None] - places[None]).sum(-1) + np.eye(NUM) * 1e9
            assert (squares.argmin(axis=1) // 10 == np.arange(NUM) // 10).all()
            assert places.min() >= 0
            assert (places <= [1000, 760]).all()


def test_hovering_shows_picture_class_and_path(map_page, page):
    with map_page() as browser_page:
        point = browser_page.locator("[data-index='1']")
        point.scroll_into_view_if_needed()
        point.dispatch_event("pointerover", {"bubbles": True})
        card = browser_page.locator("#card")
        assert card.locator("img").get_attribute("src").startswith("data:image/jpeg;base64,")
        assert card.locator("b").inner_text() == "true class: clap"
        assert f"{page.parent / 'first.mp4'}, 0.5 to 1 s" in card.inner_text()
        assert "predicted class: wave, 51 %" in card.inner_text()
        browser_page.locator("[data-index='30']").dispatch_event("pointerover", {"bubbles": True})
        assert card.locator("img").count() == 0
        assert "videos/</script>30.mp4" in card.inner_text()


def test_the_legend_hides_and_shows_classes(map_page):
    with map_page() as page:
        page.get_by_label("clap").uncheck()
        assert shown(page) == 30
        page.get_by_role("button", name="none").click()
        assert shown(page) == 0
        page.get_by_label("sit").check()
        assert shown(page) == 10
        page.get_by_role("button", name="all").click()
        assert shown(page) == NUM


def test_everything_works_by_keyboard(map_page):
    with map_page() as page:
        keyboard = page.keyboard
        keyboard.press("Tab")
        keyboard.press("ArrowDown")  # the other layout
        assert page.evaluate("layout") == "pca"
        keyboard.press("Tab")
        assert page.evaluate("document.activeElement.name") == "field"
        keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "plot"
        assert page.locator("#card").is_visible()
        visited = set()
        for key in [*["ArrowLeft"] * 3, *["ArrowDown"] * 9, *["ArrowRight"] * 9, *["ArrowUp"] * 9]:
            keyboard.press(key)
            visited.add(page.evaluate("chosen"))
        assert len(visited) > 4
        visited = set()
        for _ in range(NUM):
            keyboard.press("PageDown")
            visited.add(page.evaluate("chosen"))
        assert visited == set(range(NUM))
        keyboard.press("PageUp")
        assert re.search(r"true class: .*, predicted class: ", page.locator("#said").inner_text())
        keyboard.press("Escape")
        assert page.locator("#card").is_hidden()
        for _ in range(3):
            keyboard.press("Tab")
        keyboard.press("Space")
        assert shown(page) == 30


def test_points_are_colored_by_another_column(map_page):
    with map_page() as page:
        page.get_by_label("color by").select_option("predicted class")
        assert page.locator("#legend li").all_inner_texts() == ["clap\n20", "wave\n20"]


def test_the_page_fits_a_phone(map_page):
    with map_page(viewport={"width": 360, "height": 700}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_of_many_rows_each_class_is_drawn_by_its_share(tmp_path):
    found = make_map(opened(tmp_path / "rows.parquet"), most_points=20)
    assert len(found.rows) == 20
    assert np.bincount(found.rows // 10).tolist() == [5, 5, 5, 5]
    assert (np.diff(found.rows) > 0).all()
    write_map(found, tmp_path / "map.html", title="x")
    assert "20 of 40 clips, each class by its share" in (tmp_path / "map.html").read_text("utf-8")


def test_rows_without_any_class_have_a_map(tmp_path, chromium):
    nothing = {name: [None] * NUM for name in ("true_label", "label")}
    index = opened(tmp_path / "rows.parquet", **nothing)
    write_map(make_map(index), tmp_path / "map.html", title="x")
    with visit(chromium, (tmp_path / "map.html").as_uri()) as visited:
        assert visited.page.locator("#legend li").all_inner_texts() == [f"none\n{NUM}"]
        assert visited.page.locator("#by").is_hidden()


def test_a_map_needs_two_rows_and_two_points(tmp_path):
    with pytest.raises(DataError, match=r"x.parquet: a map needs at least two rows"):
        make_map(Index.open(write_embeddings(tmp_path / "x.parquet", vectors()[:1])))
    with pytest.raises(ConfigError, match="most_points=1"):
        make_map(opened(tmp_path / "rows.parquet"), most_points=1)


def test_an_existing_file_is_kept(tmp_path):
    (tmp_path / "map.html").write_text("mine")
    with pytest.raises(ConfigError, match="already exists"):
        write_map(make_map(opened(tmp_path / "rows.parquet")), tmp_path / "map.html", title="x")
