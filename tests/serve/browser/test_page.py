"""The page of the server in a real browser: what a user does, and what the page shows and asks for."""

import json

import pytest
from playwright.sync_api import expect

from timesformer.cli.main import main
from videos import write_video

pytestmark = pytest.mark.xdist_group("browser")


def predicted(capsys, model_folder, clip, *, top_k=5):
    with pytest.raises(SystemExit):
        main(["predict", str(clip), "--model", str(model_folder), "--top-k", str(top_k), "--json", "--device", "cpu"])
    return json.loads(capsys.readouterr().out)


def bars(page):
    """Labels, indices, probabilities and texts of the bars."""
    items = page.locator("#bars li")
    return items.evaluate_all(
        "items => items.map(({children, dataset}) => [children[0].textContent, Number(dataset.index),"
        " Number(dataset.probability), children[1].textContent])"
    )


def choose(page, file, *, by="Choose a file"):
    with page.expect_file_chooser() as choosing:
        page.get_by_role("button", name=by).click()
    choosing.value.set_files(file)


def sentence(text):
    return text[:1].upper() + text[1:] + "."


def test_bars_are_what_predict_says(open_page, model_folder, clip, capsys):
    wanted = predicted(capsys, model_folder, clip)
    with open_page() as visited:
        choose(visited.page, clip)
        expect(visited.page.locator("#bars li")).to_have_count(5)
        labels, indices, probabilities, texts = zip(*bars(visited.page), strict=True)
        assert visited.page.locator("#bars b").count() == 0
        expect(visited.page.get_by_role("status")).to_contain_text(f"Most probable: {labels[0]}")
    assert list(labels) == wanted["labels"]
    assert list(indices) == wanted["indices"]
    assert list(probabilities) == pytest.approx(wanted["probabilities"], abs=1e-6)
    assert list(texts) == [f"{100 * value:.1f}%" for value in probabilities]


def test_model_card_that_comes_after_the_video_is_shown(open_page, clip):
    with open_page() as visited:
        page = visited.page
        held = []
        page.route("**/v1/model", lambda route: held.append(route))
        page.reload()
        choose(page, clip)
        expect(page.locator("#bars li")).to_have_count(5)
        held[-1].fallback()  # one from before the reload may have been held, too
        expect(page.get_by_role("button", name="Show the heat map")).to_be_visible()
        expect(page.locator("#card")).to_contain_text("tiny")


def test_number_of_classes_can_be_chosen(open_page, clip):
    with open_page() as visited:
        choose(visited.page, clip)
        visited.page.get_by_label("Show").select_option("7")
        expect(visited.page.locator("#bars li")).to_have_count(7)
        assert sum(row[2] for row in bars(visited.page)) == pytest.approx(1, abs=1e-5)


def test_model_card_and_limits_are_shown_before_an_upload(open_page):
    with open_page() as visited:
        expect(visited.page.locator("#limits")).to_contain_text("Up to 1 MB, 30 seconds")
        card = visited.page.locator("#card")
        for text in ("tiny", "divided_space_time", "4 frames of 24 × 16 pixels", "MIT"):
            expect(card).to_contain_text(text)
        visited.page.get_by_text("The 7 classes").click()
        expect(visited.page.locator("#label-list").get_by_text("<b>wave</b> & bow")).to_be_visible()
        assert "POST /v1/predict" not in visited.requests


def test_file_above_the_limit_is_refused_without_an_upload(open_page, tmp_path):
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(1_000_001))
    with open_page() as visited:
        expect(visited.page.locator("#limits")).not_to_be_empty()
        choose(visited.page, large)
        problem = visited.page.get_by_role("alert")
        expect(problem).to_contain_text("The file is too large")
        expect(problem).to_contain_text("large.mp4 has 1.0 MB; this server accepts up to 1 MB")
        expect(problem).to_contain_text("Cut or compress the video")
        assert "POST /v1/predict" not in visited.requests


def test_long_video_is_refused_without_an_upload(open_page, tmp_path):
    long = write_video(tmp_path / "long.mp4", num_frames=31, fps=1)
    with open_page() as visited:
        expect(visited.page.locator("#limits")).not_to_be_empty()
        choose(visited.page, long)
        problem = visited.page.get_by_role("alert")
        expect(problem).to_contain_text("It lasts 31 seconds; this server accepts up to 30 seconds")
        assert "POST /v1/predict" not in visited.requests


def test_text_file_is_refused_with_a_fix(open_page, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("Not a video.")
    with open_page() as visited:
        choose(visited.page, text)
        problem = visited.page.get_by_role("alert")
        expect(problem).to_contain_text("This is not a video")
        expect(problem).to_contain_text("What to do: Choose a video file")


def test_focus_stays_on_the_page_if_the_focused_button_goes(open_page, clip):
    with open_page() as visited:
        choose(visited.page, clip)
        expect(visited.page.get_by_role("button", name="Another file")).to_be_focused()


def test_text_that_is_named_like_a_video_shows_the_problem_of_the_server(open_page, tmp_path):
    text = tmp_path / "notes.mp4"
    text.write_text("Not a video.")
    with open_page() as visited:
        with visited.page.expect_response("**/v1/predict*") as answering:
            choose(visited.page, text)
        answer = answering.value.json()
        problem = visited.page.get_by_role("alert")
        expect(problem.locator("p").nth(1)).to_have_text(sentence(answer["detail"]))
        expect(problem).to_contain_text(f"What to do: {sentence(answer['fix'])}")
        expect(problem).to_contain_text(f"Status {answer['status']}")
        visited.forget_refusals()


def test_token_is_asked_for_and_kept_in_the_session(open_page, clip):
    with open_page(token="") as visited:
        page = visited.page
        page.get_by_label("Token").fill("a-wrong-token-of-letters")
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("alert")).to_contain_text("The token was not accepted")
        page.get_by_label("Token").fill("a-token-of-24-characters")
        page.get_by_role("button", name="Continue").click()
        expect(page.locator("#token-form")).to_be_hidden()
        choose(page, clip)
        expect(page.locator("#bars li")).to_have_count(5)
        page.reload()
        expect(page.locator("#card dt").first).to_be_visible()
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        visited.forget_refusals()


def test_video_is_recorded_from_the_camera(open_page):
    with open_page() as visited:
        page = visited.page
        page.get_by_role("button", name="Use the camera").click()
        expect(page.get_by_label("Live picture of the camera")).to_be_visible()
        page.get_by_label("for").select_option("2 seconds")
        page.get_by_role("button", name="Record").click()
        expect(page.locator("#bars li")).to_have_count(5)
        expect(page.locator("#file-name")).to_have_text("recording.webm")
        assert page.evaluate("document.getElementById('live').srcObject") is None


def test_browser_without_a_camera_says_so(open_page):
    with open_page() as visited:
        visited.page.evaluate(
            "() => { navigator.mediaDevices.getUserMedia ="
            " () => Promise.reject(new DOMException('none', 'NotFoundError')); }"
        )
        visited.page.get_by_role("button", name="Use the camera").click()
        problem = visited.page.get_by_role("alert")
        expect(problem).to_contain_text("There is no camera")
        expect(problem).to_contain_text("Connect one, or choose a file.")
        expect(visited.page.locator("#drop")).to_be_visible()


def test_upload_can_be_canceled(open_page, clip):
    with open_page() as visited:
        page = visited.page
        page.route("**/v1/predict*", lambda route: None)  # never answered
        choose(page, clip)
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#result-work")).to_be_empty()
        expect(page.get_by_role("status")).to_have_text("Canceled")
        page.unroute("**/v1/predict*")
        choose(page, clip, by="Another file")
        expect(page.locator("#bars li")).to_have_count(5)


def test_server_that_is_gone_is_said_and_can_be_tried_again(open_page, clip):
    with open_page() as visited:
        page = visited.page
        page.route("**/v1/predict*", lambda route: route.abort())
        choose(page, clip)
        expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
        page.unroute("**/v1/predict*")
        page.get_by_role("button", name="Try again").click()
        expect(page.locator("#bars li")).to_have_count(5)
        visited.forget_refusals()


def test_dropped_video_is_classified(open_page, clip):
    with open_page() as visited:
        page = visited.page
        transfer = page.evaluate_handle(
            "bytes => { const all = new DataTransfer();"
            " all.items.add(new File([new Uint8Array(bytes)], 'dropped.mp4', {type: 'video/mp4'})); return all; }",
            list(clip.read_bytes()),
        )
        page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
        expect(page.locator("#file-name")).to_have_text("dropped.mp4")
        expect(page.locator("#bars li")).to_have_count(5)
