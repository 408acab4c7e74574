import json
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from timesformer.cli.timeline_text import clock_text
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.data.manifest.manifest import load_manifest
from timesformer.errors import DataError
from timesformer.timelines.curves_file import read_curves
from timesformer.timelines.json_file import read_timeline
from timesformer.timelines.run import timeline
from timesformer.timelines.timeline import Gap, Source, Timeline
from timesformer.weights.load import load
from timesformer.weights.model_folder import save
from tiny import random_model, tiny_config
from videos import write_frames, write_timed, write_video

LABELS = ("walk", "background", "wave", "clap", "sit", "jump", "turn")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model folder: windows of 0.8 s."""
    info = ModelInfo(clip=ClipConfig(frame_stride=8, num_crops=1), labels=LABELS)
    return save(random_model(tiny_config(), info=info, seed=3), tmp_path_factory.mktemp("models") / "m")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    options = {"movflags": "faststart"}
    return write_video(tmp_path_factory.mktemp("videos") / "day.mp4", num_frames=75, format_options=options)


def test_one_line_for_each_segment(run, model, video):
    status, out, err = run("timeline", video, "--model", model, "--min-on", "0")
    found = timeline(str(model), video, min_on=0)
    assert (status, err) == (0, "")
    width = max(len(segment.label) for segment in found.segments)
    assert out.splitlines() == [
        f"{clock_text(each.start)}-{clock_text(each.end)}  {each.label:{width}}  {each.score:.0%}"
        for each in found.segments
    ]
    assert len(found.segments) > 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00.00"), (12.4, "0:12.40"), (59.999, "1:00.00"), (754.996, "12:35.00"), (3723.5, "1:02:03.50")],
)
def test_times_are_minutes_and_seconds(seconds, text):
    assert clock_text(seconds) == text


def test_json_is_the_timeline(run, model, video):
    status, out, _ = run("timeline", video, "--model", model, "--json", "--mode", "overlapping", "--onset", "0.2",
                         "--offset", "0.1", "--min-on", "wave=0.1,clap=0.2")  # fmt: skip
    found = timeline(str(model), video, mode="overlapping", onset=0.2, offset=0.1, min_on={"wave": 0.1, "clap": 0.2})
    assert status == 0
    assert json.loads(out) == json.loads(json.dumps(found.to_dict()))
    assert json.loads(out)["format"] == "timesformer.timeline/1"


def test_a_folder_gets_the_formats_and_the_curves(run, model, video, tmp_path):
    folder = tmp_path / "out" / "day"
    status, _, err = run("timeline", video, "-m", model, "--output", folder, "--to", "json,csv,vtt,svg")
    assert (status, err) == (0, f"written: {folder}\n")
    assert sorted(path.name for path in folder.iterdir()) == [
        "curves.npz", "day.csv", "day.json", "day.svg", "day.vtt",
    ]  # fmt: skip
    found = timeline(str(model), video)
    assert read_timeline(folder / "day.json") == found
    saved = read_curves(folder / "curves.npz")
    assert saved == found
    for name in ("times", "probabilities", "frame_times"):
        np.testing.assert_array_equal(getattr(saved.curves, name), getattr(found.curves, name))
    status, _, err = run("timeline", video, "-m", model, "--output", folder)
    assert status == 2
    assert "day.json: already exists; pass overwrite=True (--overwrite) to replace it" in err
    assert run("timeline", video, "-m", model, "--output", folder, "--overwrite")[0] == 0


def test_one_file_is_written_if_its_extension_tells_the_format(run, model, video, tmp_path):
    assert run("timeline", video, "-m", model, "--output", tmp_path / "a.vtt")[0] == 0
    assert (tmp_path / "a.vtt").read_text().startswith("WEBVTT")
    assert run("timeline", video, "-m", model, "--output", tmp_path / "b.json", "--to", "activitynet")[0] == 0
    assert "results" in json.loads((tmp_path / "b.json").read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.vtt", "b.json"]


def test_saved_curves_are_decided_again_without_model_and_video(run, model, video, tmp_path):
    folder = tmp_path / "day"
    run("timeline", video, "-m", model, "--output", folder)
    more = ("--mode", "overlapping", "--onset", "0.2", "--offset", "0.1")
    status, out, _ = run("timeline", "--curves", folder / "curves.npz", *more, "--json")
    _, expected, _ = run("timeline", video, "-m", model, *more, "--json")
    assert status == 0
    assert out == expected
    _, again, _ = run("timeline", "--curves", folder / "curves.npz", *more, "--output", tmp_path / "other.csv")
    assert (tmp_path / "other.csv").is_file()
    assert len(again.splitlines()) == len(json.loads(out)["segments"])


@pytest.mark.parametrize(
    ("name", "arguments", "start"),
    [
        ("a.activitynet.json", (), '{\n "version": "VERSION 1.3"'),
        ("a.labelstudio.json", (), "["),
        ("a.json", ("--to", "labelstudio"), "["),
        ("A.SRT", ("--to", "srt"), "1\n"),
        ("a.timeline.mp4", (), ""),
        ("a.mp4", (), ""),
    ],
)
def test_the_longest_extension_tells_the_format(run, model, video, tmp_path, name, arguments, start):
    status, _, err = run("timeline", video, "-m", model, "--output", tmp_path / name, *arguments)
    assert (status, err) == (0, f"written: {tmp_path / name}\n")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    data = (tmp_path / name).read_bytes()
    assert data[4:8] == b"ftyp" if not start else data.decode().startswith(start)


@pytest.mark.parametrize("to", ["csv,vtt", "vtt"])
def test_a_file_of_another_format_is_not_made_a_folder(run, model, video, tmp_path, to):
    status, out, err = run("timeline", video, "-m", model, "--output", tmp_path / "a.csv", "--to", to)
    assert (status, out) == (2, "")
    shown = to.replace(",", ", ")
    assert err == f"error: --output {tmp_path / 'a.csv'}: is one file (csv), but --to asks for {shown}; name a folder\n"
    assert not list(tmp_path.iterdir())
    assert run("timeline", video, "-m", model, "--output", f"{tmp_path}/a.csv/", "--to", to)[0] == 0
    assert (tmp_path / "a.csv/day.vtt").is_file()


def test_curves_are_decided_again_in_any_folder(run, model, video, tmp_path, monkeypatch):
    shutil.copy(video, tmp_path / "day.mp4")
    monkeypatch.chdir(tmp_path)
    assert run("timeline", "day.mp4", "-m", model, "--output", "out")[0] == 0
    before = (tmp_path / "out/curves.npz").read_bytes()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = ("timeline", "--curves", "../out/curves.npz", "--min-on", "0")
    assert run(*again, "--output", "new", "--to", "csv,mp4")[0] == 0
    names = ["curves.npz", "day.csv", "day.timeline.mp4"]
    assert sorted(path.name for path in (tmp_path / "elsewhere/new").iterdir()) == names
    (path,) = {sample.path for sample in load_manifest("new/day.csv").samples}
    assert path.samefile(tmp_path / "day.mp4")
    status, _, err = run(*again, "--output", "../out")
    assert (status, err) == (
        2, "error: ../out/day.json: already exists; pass overwrite=True (--overwrite) to replace it\n"
    )  # fmt: skip
    assert run(*again, "--output", "../out", "--overwrite")[0] == 0
    assert (tmp_path / "out/curves.npz").read_bytes() == before
    assert read_timeline(tmp_path / "out/day.json").settings["min_on"] == 0
    (tmp_path / "day.mp4").unlink()
    status, _, err = run(*again, "--output", "late", "--to", "csv,mp4")
    assert (status, err) == (2, f"error: --to mp4 needs the video: {tmp_path}/day.mp4: No such file or directory\n")
    assert not (tmp_path / "elsewhere/late").exists()
    assert run(*again, "--output", "late", "--to", "csv")[0] == 0
    assert (tmp_path / "elsewhere/late/day.csv").is_file()


def test_a_table_names_a_video_in_a_tar_file(run, model, video, tmp_path, monkeypatch):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(video, "day.mp4")
    monkeypatch.chdir(tmp_path)
    assert run("timeline", "a.tar/day.mp4", "-m", model, "--output", "out", "--to", "csv")[0] == 0
    (path,) = {sample.path for sample in load_manifest("out/day.csv").samples}
    assert path == tmp_path / "a.tar/day.mp4"


@pytest.mark.parametrize("how", ["redirect", "pipe"])
def test_stdin_gives_the_bytes_that_the_file_gives(how, model, video, tmp_path):
    command = [sys.executable, "-m", "timesformer", "timeline", "-", "--model", str(model), "--min-on", "0"]
    out, data = tmp_path / "out", video.read_bytes()
    if how == "pipe":
        done = subprocess.run([*command, "--output", str(out)], input=data, capture_output=True, check=True)
    else:
        with video.open("rb") as file:
            done = subprocess.run([*command, "--output", str(out)], stdin=file, capture_output=True, check=True)
    command[4] = str(video)
    direct = subprocess.run([*command, "--output", str(tmp_path / "file")], capture_output=True, check=True)
    assert done.stdout == direct.stdout != b""
    piped, found = read_curves(out / "curves.npz"), read_curves(tmp_path / "file" / "curves.npz")
    assert piped.source.path == "-"
    assert replace(piped, source=found.source) == found
    assert replace(found.source, path="-") == piped.source
    assert piped.curves.probabilities.tobytes() == found.curves.probabilities.tobytes()
    texts = [path.read_text() for path in (out / "timeline.json", tmp_path / "file" / "day.json")]
    assert texts[0].replace('"path": "-"', f'"path": "{video}"') == texts[1]


def test_an_mp4_that_no_pipe_can_carry_is_one_line(model, tmp_path):
    path = write_video(tmp_path / "v.mp4", num_frames=300, codec="mjpeg", pix_fmt="yuvj420p")
    done = subprocess.run(
        [sys.executable, "-m", "timesformer", "timeline", "-", "--model", str(model)],
        input=path.read_bytes(), capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.decode() == (
        "error: -: an MP4 or MOV whose index comes last cannot be read from a pipe: name the file, or write it with "
        "its index first (ffmpeg -movflags faststart), as Matroska or as MPEG-TS\n"
    )


def test_a_file_that_is_cut_off_is_told(run, model, tmp_path, caplog):
    whole = write_video(tmp_path / "whole.mkv", num_frames=250)
    assert run("timeline", whole, "--model", model)[0] == 0
    assert caplog.text == ""
    (tmp_path / "cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    status, out, _ = run("timeline", tmp_path / "cut.mkv", "--model", model, "--json")
    found = json.loads(out)["source"]
    assert status == 0
    assert 1 < found["duration"] < 9
    assert caplog.messages == [
        f"{tmp_path / 'cut.mkv'}: the frames end at {found['duration']:.5g} s, its header says 10 s: "
        "the file may be cut off"
    ]


def test_the_clock_of_a_recording_may_start_late(run, model, tmp_path, caplog):
    path = write_timed(tmp_path / "v.ts", range(50_000, 52_400, 40))
    assert run("timeline", path, "--model", model)[0] == 0
    assert caplog.text == ""


def test_gaps_are_told(run, model, tmp_path):
    times = [*range(0, 1200, 40), *range(61_200, 62_400, 40)]
    path = write_timed(tmp_path / "v.mkv", times)
    status, _, err = run("timeline", path, "--model", model)
    assert status == 0
    assert err.splitlines() == ["gap 0:01.20-1:01.20: no frame for 60.04 s"]


def test_a_video_without_segments_says_so(run, model, video):
    status, out, err = run("timeline", video, "-m", model, "--mode", "overlapping", "--onset", "1", "--min-on", "3")
    assert (status, out, err) == (0, "", "no segments\n")


def test_a_folder_of_frames_and_other_frame_counts_work(run, model, tmp_path):
    frames = write_frames(tmp_path / "f", num_frames=60)
    status, out, _ = run("timeline", frames, "-m", model, "--set", "num_frames=5", "--json")
    assert status == 0
    assert json.loads(out)["window"] == pytest.approx(5 * 8 / 30)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{video}", "--window", "4"), "{video}: lasts 3 s, less than one window of 4 s: pass a shorter window=..."),
        (("{video}", "--stride", "1"), "stride=1 must be greater than 0 and at most the window of 0.8 seconds"),
        (("{video}", "--stride", "0"), "stride=0 must be greater than 0 and at most the window of 0.8 seconds"),
        (("{video}", "--window", "-2"), "window=-2 must be from 0.001 to 86400 seconds"),
        (("{video}", "--set", "num_frames=0"), "num_frames=0 must be"),
        (("{folder}/missing.mp4",), "{folder}/missing.mp4: No such file or directory"),
        (("{folder}",), "{folder}: a folder, not a video file, without frames such as"),
        (("{folder}/text.mp4",), "{folder}/text.mp4: not a video, or cut off before its index"),
        ((), "which video? Give VIDEO, - for stdin, or --curves for curves that were saved"),
        (("{video}", "--onset", "0.5"), "onset has no effect on mode='exclusive', only on 'overlapping'"),
        (("{video}", "--min-on", "wafe=1"), "the model has no class 'wafe', only 7 others; did you mean 'wave'?"),
        (("{video}", "--min-on", "much"), "--min-on much: is neither a number nor numbers of classes, such as"),
        (("{video}", "--min-on", "1,wave=2"), "--min-on 1,wave=2: is neither a number nor numbers of classes"),
        (("{video}", "--min-on", "-1"), "min_on=-1.0 must be finite and not negative"),
        (("{video}", "--mode", "overlapping", "--onset", "2"), "onset=2.0 must be greater than 0, at most 1"),
        (("{video}", "--to", "csv"), "--to csv has no effect without --output, the folder to write into"),
        (("{video}", "--output", "{folder}/o", "--to", "cvs"), "--to cvs: is not one of json, csv, vtt"),
        (("{video}", "--output", "{folder}/text.mp4/o"), "cannot be created: {folder}/text.mp4 is a file"),
        (("--curves", "{folder}/missing.npz"), "{folder}/missing.npz: No such file or directory"),
        (("--curves", "{folder}/text.mp4"), "{folder}/text.mp4: is not a file of curves, as `timesformer timeline"),
        (("--curves", "{folder}/other.npz"), "{folder}/other.npz: is not a file of curves, as `timesformer timeline"),
        (("{video}", "--curves", "{folder}/other.npz"), "{video}: has no effect with --curves"),
        (("--curves", "{folder}/other.npz", "--window", "1"), "--window: has no effect with --curves"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(run, model, video, tmp_path, arguments, message):
    (tmp_path / "text.mp4").write_text("no video")
    np.savez(tmp_path / "other.npz", times=np.zeros(3))
    names = {"video": video, "folder": tmp_path}
    with_model = () if "--curves" in arguments else ("--model", model)
    status, out, err = run("timeline", *(argument.format(**names) for argument in arguments), *with_model)
    assert status in (1, 2)
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")
    assert message.format(**names) in err


def test_a_model_of_whole_clips_needs_a_window(run, video, tmp_path):
    info = ModelInfo(clip=ClipConfig(sampling="uniform", num_crops=1), labels=LABELS)
    folder = save(random_model(tiny_config(), info=info), tmp_path / "m")
    status, _, err = run("timeline", video, "-m", folder)
    assert status == 2
    assert err == (
        "error: the model samples whole clips (sampling='uniform') and does not say how long they are: "
        "pass their length in seconds as window=... (--window)\n"
    )
    assert run("timeline", video, "-m", folder, "--window", "1")[0] == 0
    save(random_model(tiny_config(), info=replace(info, clip_seconds=1.2)), tmp_path / "n")
    assert load(tmp_path / "n").info.clip_seconds == 1.2
    assert json.loads(run("timeline", video, "-m", tmp_path / "n", "--json")[1])["window"] == 1.2


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "t.json"
    source = Source(path="v.mp4", sha256="", duration=9.0, num_frames=9, fps=1.0, is_variable=False, height=2, width=3)
    gap = Gap(start=0.5, end=1.0, reason="cut")
    empty = Timeline(
        source=source, model={}, window=2.0, stride=0.5, settings={}, classes=LABELS, segments=(), gaps=(gap,)
    )
    whole = json.dumps(empty.to_dict())
    path.write_text(whole)
    assert read_timeline(path) == empty
    for text, message in (
        ("{", "is not JSON"),
        ("[]", "is not a timeline: format=None, this release reads 'timesformer.timeline/1'"),
        ('{"format": "timesformer.timeline/2"}', "is not a timeline: format='timesformer.timeline/2'"),
        ('{"format": "timesformer.timeline/1"}', "is a damaged timeline: 'source' is missing"),
        ('{"format": "timesformer.timeline/1", "source": 1}', "is a damaged timeline: source is not an object"),
        ('{"format": "timesformer.timeline/1", "source": {"path": 1}}', "is a damaged timeline: source lacks '"),
        (whole.replace('"path": "v.mp4"', '"path": 5'), "is a damaged timeline: path=5 of source is not of type str"),
        (whole.replace('"path"', '"x": 1, "path"'), "is a damaged timeline: source has an unknown key 'x'"),
        (
            whole.replace('"start": 0.5', '"start": "a"'),
            "is a damaged timeline: start='a' of a gap is not of type float",
        ),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_timeline(path)
    with pytest.raises(DataError, match="No such file"):
        read_timeline(tmp_path / "missing.json")
