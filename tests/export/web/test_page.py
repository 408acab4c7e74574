"""The page in Chromium, from a static server and a subfolder, with a stand-in for the runtime."""

import json
from pathlib import Path

import pytest

from browsers import visit
from static_site import served
from timesformer.config.schema import ClipConfig
from tiny import tiny_config
from videos import set_display_matrix, write_timed, write_video
from web_pages import answer, classify, page_folder, shown

pytestmark = pytest.mark.xdist_group("browser")

LABELS = ("clap", "<b>wave</b> & bow", "sit down", "run", "jump", "kneel", "lift")
CONFIG = tiny_config()
CLIP = ClipConfig(sampling="uniform", num_crops=1)
CLIPS = {
    "uniform": CLIP,
    "views": ClipConfig(sampling="dense", frame_stride=4, num_clips=2, num_crops=3),
    "logits": ClipConfig(sampling="coverage", frame_stride=2, num_clips=1, num_crops=1, fusion="logits"),
    "times": ClipConfig(sampling="segment", num_clips=1, num_crops=1, channel_order="time", background="remove"),
    "blue first": ClipConfig(
        sampling="center", num_clips=1, num_crops=3, frame_stride=3, channel_order="bgr", background="remove"
    ),
}
ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A served folder: pages in subfolders, one for each kind of preprocessing."""
    folder = tmp_path_factory.mktemp("site")
    for name, clip in CLIPS.items():
        page_folder(folder / "some where" / name, CONFIG, clip, labels=LABELS)
    return folder


@pytest.fixture(scope="module")
def address(root):
    with served(root) as url:
        yield f"{url}/some%20where"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("clips") / "clip.mp4", num_frames=30, num_b_frames=2)


@pytest.mark.parametrize("name", CLIPS)
def test_the_page_answers_as_predict(chromium, address, tmp_path, name):
    videos = [
        write_video(tmp_path / "a.mp4", num_frames=40, num_b_frames=2),
        write_timed(tmp_path / "b.mkv", [0, 40, 110, 120, 300, 330, 340, 400]),
        set_display_matrix(write_video(tmp_path / "c.mp4", num_frames=3), (0, 1, -1, 0)),
    ]
    with visit(chromium, f"{address}/{name}/") as visited:
        for video in videos:
            found = classify(visited, video)["probabilities"]
            wanted, _ = answer(video, CONFIG, CLIPS[name])
            assert found == pytest.approx(wanted, abs=1e-5)  # sums of a few thousand products in another order
        assert not visited.page.is_visible("#note")


def test_the_five_most_probable_classes_are_shown_with_their_names(chromium, address, clip):
    wanted, info = answer(clip, CONFIG, CLIP)
    order = sorted(range(7), key=lambda i: -wanted[i])[:5]
    with visit(chromium, f"{address}/uniform/") as visited:
        classify(visited, clip)
        names = visited.page.locator("#classes .name").all_inner_texts()
        values = visited.page.locator("#classes .value").all_inner_texts()
        details = visited.page.inner_text("#details")
        about = visited.page.inner_text("#about")
    assert names == [LABELS[i] for i in order]
    assert values == [f"{100 * wanted[i]:.1f} %" for i in order]
    assert details.startswith("clip.mp4 · H.264 in MP4, 30 frames at 25 a second · exact frames · 1 view in ")
    assert info.num_frames == 30
    assert about == "tiny: 7 classes, clips of 3 frames of 20 × 8"


def test_nothing_but_the_files_of_the_page_is_asked_for(chromium, address, clip, root):
    with visit(chromium, f"{address}/uniform/") as visited:
        classify(visited, clip)
        asked = set(visited.requests)
    files = {path.relative_to(root).as_posix() for path in (root / "some where/uniform").rglob("*") if path.is_file()}
    paths = {f"GET /{name.replace(' ', '%20')}" for name in files}
    assert asked - paths == {"GET /some%20where/uniform/"}
    assert paths - asked == {"GET /some%20where/uniform/index.html"}


def test_threads_are_used_only_where_the_headers_allow_them(chromium, address, root):
    script = "document.documentElement.dataset.threads"
    with visit(chromium, f"{address}/uniform/") as visited:
        visited.page.wait_for_selector("#file:enabled")
        assert visited.page.evaluate(script) == "1"
    with served(root, ISOLATED) as url, visit(chromium, f"{url}/some%20where/uniform/") as visited:
        visited.page.wait_for_selector("#file:enabled")
        cores = visited.page.evaluate("navigator.hardwareConcurrency")
        assert visited.page.evaluate(script) == str(min(cores, 8))


def test_a_file_that_the_browser_cannot_show_is_an_error_that_names_it(chromium, address, tmp_path, clip):
    (tmp_path / "notes.mp4").write_text("no video at all")
    with visit(chromium, f"{address}/uniform/") as visited:
        visited.page.wait_for_selector("#file:enabled")
        visited.page.set_input_files("#file", tmp_path / "notes.mp4")
        visited.page.wait_for_selector("#error:not([hidden])")
        assert visited.page.inner_text("#error") == (
            "notes.mp4 cannot be read: it is neither an MP4 nor a WebM file; this browser cannot play the file."
        )
        assert classify(visited, clip)["probabilities"]  # the next file works


def test_the_player_reads_what_the_page_cannot(chromium, address, tmp_path):
    video = write_video(tmp_path / "clip.webm", num_frames=30, codec="libvpx", gop=1)
    with visit(chromium, f"{address}/uniform/?player") as visited:
        found = classify(visited, video)
        note = visited.page.inner_text("#note")
    assert found["read"] == [[0, 15, 29]]
    assert note.startswith("Frames come from the browser's player, because the player was asked for. At 25.00 frames a")


def test_the_camera_is_classified_until_it_is_stopped(chromium, address):
    with visit(chromium, f"{address}/uniform/", permissions=["camera"]) as visited:
        page = visited.page
        page.wait_for_selector("#camera:enabled")
        page.focus("#camera")
        page.keyboard.press("Enter")
        shown(visited)
        first = page.get_attribute("#classes", "data-answer")
        visited.wait_until(f"document.getElementById('classes').dataset.answer !== {json.dumps(first)}")
        assert page.inner_text("#stage") == "Watching the camera: the last 2 s"
        page.focus("#window")
        page.keyboard.press("ArrowLeft")
        assert page.inner_text("#window-value") == "1.5"
        page.keyboard.press("Escape")
        assert page.inner_text("#camera") == "Use the camera"
        assert not page.is_visible("#preview")


def test_a_refused_camera_is_explained(chromium, address):
    with visit(chromium, f"{address}/uniform/") as visited:
        visited.page.wait_for_selector("#camera:enabled")
        visited.page.evaluate(
            "() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error('Permission denied')); }"
        )
        visited.page.click("#camera")
        visited.page.wait_for_selector("#error:not([hidden])")
        assert visited.page.inner_text("#error") == "The camera cannot be used: Permission denied"


def test_everything_is_reached_by_the_keyboard(chromium, address):
    with visit(chromium, f"{address}/uniform/") as visited:
        visited.page.wait_for_selector("#file:enabled")
        reached = []
        for _ in range(3):
            visited.page.keyboard.press("Tab")
            reached.append(visited.page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert reached == ["file", "camera", "SUMMARY"]


@pytest.mark.parametrize("width", [320, 375, 1280])
def test_nothing_is_wider_than_the_screen(chromium, address, clip, width):
    with visit(chromium, f"{address}/uniform/", viewport={"width": width, "height": 700}) as visited:
        classify(visited, clip)
        assert visited.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.onnx", b"short", "model.onnx has 5 of its 18 bytes: upload it again"),
        ("model.onnx", b"x" * 30, "model.onnx is longer than 18 bytes: export the page again"),
        ("runtime/ort.wasm", None, "runtime/ort.wasm cannot be loaded: the server answered 404"),
    ],
)
def test_an_incomplete_upload_is_explained(chromium, tmp_path, name, content, message):
    folder = page_folder(tmp_path / "page", CONFIG, CLIP)
    if content is None:
        Path(folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with served(tmp_path) as url, visit(chromium, f"{url}/page/") as visited:
        visited.page.wait_for_selector("#error:not([hidden])")
        assert visited.page.inner_text("#error") == f"The model cannot be loaded: {message}"
        visited.forget_refusals()
