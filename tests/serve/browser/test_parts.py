"""Timeline, heat map, keyboard, widths and colors of the page in a real browser."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.xdist_group("browser")

_CONTRAST = Path(__file__).with_name("contrast.js").read_text()
_FOCUS = "(({outlineStyle, outlineWidth}) => outlineStyle + outlineWidth)(getComputedStyle(document.activeElement))"


def choose(page, file):
    page.set_input_files("#file", file)
    expect(page.locator("#bars li")).to_have_count(5)


def make_timeline(page):
    page.get_by_role("button", name="Make the timeline").click()
    expect(page.locator(".segment").first).to_be_visible()


def show_heat_map(visited):
    visited.page.get_by_role("button", name="Show the heat map").click()
    visited.wait_until("document.getElementById('overlay').duration > 0")


def position(page):
    return page.evaluate("document.getElementById('preview').currentTime")


def test_timeline_is_what_the_server_says_and_segments_seek(open_page, clip):
    with open_page() as visited:
        page = visited.page
        choose(page, clip)
        page.get_by_label("Stride, in seconds").fill("0.5")
        with page.expect_response("**/v1/timeline*") as answering:
            make_timeline(page)
        assert "stride=0.5" in answering.value.url
        said = answering.value.json()["segments"]
        shown = page.locator(".segment").evaluate_all(
            "all => all.map(({dataset, textContent}) => [textContent, Number(dataset.start), Number(dataset.end)])"
        )
        assert shown == [[segment["label"], segment["start"], segment["end"]] for segment in said]
        page.locator(".segment").last.click()
        assert position(page) == pytest.approx(said[-1]["start"], abs=1e-3)
        expect(page.locator(".segment").last).to_have_attribute("aria-current", "true")
        page.locator("tbody button").first.click()
        assert position(page) == pytest.approx(said[0]["start"], abs=1e-3)


def test_timeline_can_be_downloaded(open_page, clip):
    with open_page() as visited:
        choose(visited.page, clip)
        make_timeline(visited.page)
        with visited.page.expect_download() as downloading:
            visited.page.get_by_text("Download as JSON").click()
        assert downloading.value.suggested_filename == "clip.timeline.json"
        assert '"timesformer.timeline/1"' in Path(downloading.value.path()).read_text()


def test_long_video_becomes_a_job_whose_progress_is_shown(open_page, long_clip):
    with open_page() as visited:
        choose(visited.page, long_clip)
        with visited.page.expect_response("**/v1/timeline*") as answering:
            make_timeline(visited.page)
        assert answering.value.status == 202
        assert any(request.startswith("GET /v1/jobs/") for request in visited.requests)
        expect(visited.page.locator("#timeline-result")).to_contain_text("in 0:12.0")


def test_canceled_job_is_canceled_on_the_server(open_page, clip):
    job = {"id": "one", "status": "running", "progress": 0.5, "result": None, "problem": None}
    with open_page() as visited:
        page = visited.page
        choose(page, clip)
        page.route("**/v1/timeline*", lambda route: route.fulfill(status=202, json={**job, "location": "/v1/jobs/one"}))
        page.route("**/v1/jobs/one", lambda route: route.fulfill(json=job))
        page.get_by_role("button", name="Make the timeline").click()
        expect(page.get_by_role("progressbar")).to_have_attribute("value", "0.5")
        with page.expect_request(lambda request: request.method == "DELETE") as canceling:
            page.get_by_role("button", name="Cancel").click()
        assert canceling.value.url.endswith("/v1/jobs/one")
        expect(page.locator("#timeline-work")).to_be_empty()


def test_heat_map_plays_and_says_what_it_explains(open_page, clip):
    with open_page() as visited:
        page = visited.page
        choose(page, clip)
        with page.expect_response("**/v1/explain*to=json*") as answering:
            show_heat_map(visited)
        said = answering.value.json()
        visited.wait_until("document.getElementById('overlay').currentTime > 0")
        expect(page.locator("#explain-text")).to_contain_text(f"Explained: {said['label']}")
        expect(page.locator("#curve svg")).to_have_attribute("aria-label", page.locator("#explain-text").inner_text())
        expect(page.locator("#curve circle")).to_have_count(len(said["curve"]))


def test_method_and_class_of_the_heat_map_can_be_chosen(open_page, clip):
    with open_page() as visited:
        page = visited.page
        choose(page, clip)
        page.get_by_label("Method").select_option("class")
        page.locator("#class").select_option("run")
        show_heat_map(visited)
        expect(page.locator("#explain-text")).to_contain_text("Explained: run")
        page.get_by_label("Method").select_option("rollout")
        expect(page.locator("#class")).to_be_disabled()
        show_heat_map(visited)
        expect(page.locator("#explain-text")).to_contain_text("Prediction:")
        expect(page.locator("#explain-text")).to_contain_text("stays in the class token")


def press_to(page, name):
    """Go to a control by the Tab key alone; its focus is visible."""
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        if focused.count() and name in (focused.get_attribute("aria-label") or focused.inner_text() or ""):
            assert page.evaluate(_FOCUS) == "solid3px"
            return
    raise AssertionError(f"the Tab key does not reach {name}")


def test_everything_works_by_keyboard_alone(open_page, clip):
    with open_page() as visited:
        page = visited.page
        expect(page.locator("#card dt").first).to_be_visible()
        page.keyboard.press("Tab")
        expect(page.get_by_text("Skip to content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#main")).to_be_focused()
        press_to(page, "Choose a file")
        with page.expect_file_chooser() as choosing:
            page.keyboard.press("Enter")
        choosing.value.set_files(clip)
        expect(page.locator("#bars li")).to_have_count(5)
        press_to(page, "Make the timeline")
        page.keyboard.press("Enter")
        expect(page.locator(".segment").first).to_be_visible()
        press_to(page, page.locator(".segment").first.get_attribute("aria-label"))
        page.keyboard.press("End")
        expect(page.locator(".segment").last).to_be_focused()
        page.keyboard.press("Enter")
        assert position(page) == pytest.approx(
            float(page.locator(".segment").last.get_attribute("data-start")), abs=1e-3
        )
        press_to(page, "Show the heat map")
        page.keyboard.press("Space")
        visited.wait_until("document.getElementById('overlay').duration > 0")
        press_to(page, "The 7 classes")
        page.keyboard.press("Enter")
        expect(page.locator("#label-list")).to_be_visible()


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_page_fits_its_width_with_enough_contrast(open_page, clip, width, scheme):
    with open_page(viewport={"width": width, "height": 800}, color_scheme=scheme) as visited:
        page = visited.page
        choose(page, clip)
        make_timeline(page)
        show_heat_map(visited)
        page.get_by_text("The 7 classes").click()
        page.get_by_text("Use it from a program").click()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(_CONTRAST) == []
        page.set_input_files("#file", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"text"})
        expect(page.get_by_role("alert")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(_CONTRAST) == []


def test_nothing_moves_by_itself_if_the_user_wants_less_motion(open_page, clip):
    with open_page(reduced_motion="reduce") as visited:
        choose(visited.page, clip)
        show_heat_map(visited)
        assert visited.page.evaluate("document.getElementById('overlay').paused")


def test_every_control_has_a_name(open_page, clip):
    with open_page() as visited:
        page = visited.page
        choose(page, clip)
        make_timeline(page)
        show_heat_map(visited)
        unnamed = page.evaluate(
            "() => [...document.querySelectorAll('button, select, input:not([hidden]), a, video, summary, [tabindex]')]"
            ".filter(each => each.checkVisibility() && !each.matches('main'))"
            ".filter(each => !(each.innerText?.trim() || each.ariaLabel || each.labels?.length))"
            ".map(each => each.outerHTML)"
        )
        assert unnamed == []


def change_card(page, **changes):
    """Open the page again with another model card."""

    def answer(route):
        found = route.fetch()
        route.fulfill(response=found, json={**found.json(), **changes})

    page.route("**/v1/model", answer)
    page.reload()
    expect(page.locator("#card dt").first).to_be_visible()


def test_model_that_cannot_be_explained_offers_no_heat_map(open_page, clip):
    with open_page() as visited:
        change_card(visited.page, explain_methods=[])
        choose(visited.page, clip)
        expect(visited.page.locator("#timeline-section")).to_be_visible()
        expect(visited.page.locator("#explain-section")).to_be_hidden()


def test_model_without_a_length_of_its_own_asks_for_a_window(open_page, clip):
    with open_page() as visited:
        page = visited.page
        window = page.get_by_label("Window, in seconds")
        choose(page, clip)
        expect(window).to_have_attribute("placeholder", "1")
        change_card(page, sampling="segment", clip_seconds=None)
        choose(page, clip)
        page.get_by_role("button", name="Make the timeline").click()
        assert window.evaluate("each => each.validity.valueMissing")
        assert "POST /v1/timeline" not in visited.requests
