"""A check finds every planted fault and nothing else."""

import shutil

import pytest

from planted_faults import FINDINGS, LEFT_OUT, clip, plant, reencode
from timesformer.data.check.clean import clean, save_clean
from timesformer.data.check.data_check import KINDS, check_dataset, spread
from timesformer.data.check.report import write_check_page
from timesformer.data.manifest.manifest import load_manifest, load_split
from timesformer.data.synthetic.dataset import write_clip, write_motion_dataset
from timesformer.data.synthetic.motion import MOTION_CLASSES
from timesformer.errors import ConfigError, DataError
from videos import write_timed


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return plant(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def checked(planted):
    return check_dataset(planted)


GROUP_KINDS = ("conflicting_group", "group_leak")  # planted in test_check_origins.py
SEGMENT_KINDS = ("bad_segment", "conflicting_segment", "overlapping_segment")  # planted in test_check_segments.py
NAME_KINDS = ("similar_classes", "placeholder_label")


def found(check, folder):
    return {(f.kind, tuple(str(file.relative_to(folder)) for file in f.files)) for f in check.findings}


def test_all_planted_faults_are_found_and_nothing_else(checked, planted):
    assert found(checked, planted) == FINDINGS
    assert len(checked.findings) == len(FINDINGS)
    assert (checked.num_errors, checked.num_warnings) == (8, 2)


def test_every_kind_is_planted_here_or_below():
    elsewhere = {
        "missing",
        "bad_label",
        "imbalance",
        "passed_over",
        "timing",
        "similar_classes",
        "placeholder_label",
        *GROUP_KINDS,
        *SEGMENT_KINDS,
    }
    assert {kind for kind, _ in FINDINGS} | elsewhere == set(KINDS)


@pytest.mark.parametrize("background", ["dark", "texture"])
def test_similar_clips_without_faults_have_no_findings(tmp_path, background):
    write_motion_dataset(
        tmp_path / "set", clips_per_class=4, val_clips_per_class=2, size=32, num_frames=12, background=background
    )
    check = check_dataset(tmp_path / "set")
    assert check.findings == ()
    assert check.num_videos("train") == 4 * len(MOTION_CLASSES)
    assert check.sizes() == [("32x32", 6 * len(MOTION_CLASSES))]


def test_a_clip_and_its_reversal_in_two_classes_are_no_conflict(tmp_path):
    frames = clip("move_left", "train", 3)
    for label, shown in (("left", frames), ("right", frames[::-1])):
        (tmp_path / label).mkdir()
        write_clip(tmp_path / label / "a.mp4", shown)
    assert check_dataset(tmp_path).findings == ()


@pytest.fixture
def clips(tmp_path):
    for number in range(12):
        write_clip(tmp_path / f"{number}.mp4", clip("move_left", "train", number)[:, ::2, ::2])
    return tmp_path


def check_list(folder, lines, **options):
    (folder / "all.csv").write_text("\n".join(lines))
    return check_dataset(folder / "all.csv", **options)


def test_missing_files_and_bad_labels_are_found(clips):
    (clips / "classes.txt").write_text("wave\nclap\n")
    check = check_list(clips, ["0.mp4,0", "gone.mp4,1", "1.mp4,1", "2.mp4,2", "3.mp4,-1"])
    assert found(check, clips) == {
        ("missing", ("gone.mp4",)),
        ("bad_label", ("2.mp4",)),
        ("bad_label", ("3.mp4",)),
    }


def test_an_imbalance_is_found_beyond_ten_to_one_and_is_a_warning(clips):
    ten = [f"{number}.mp4,{int(number == 10)}" for number in range(11)]
    assert check_list(clips, ten).findings == ()
    check = check_list(clips, [*ten, "11.mp4,0"])
    assert [(f.kind, f.reason) for f in check.findings] == [("imbalance", "11 training videos of '0', 1 of '1'")]
    assert check.num_errors == 0


def test_a_video_with_odd_timing_is_a_warning_and_stays_in_a_clean_list(tmp_path):
    (tmp_path / "wave").mkdir()
    times = [60 * frame + 60000 * (frame > 9) for frame in range(24)]
    path = write_timed(tmp_path / "wave/pause.mp4", times, frames=clip("meet", "train", 9), fps=16)
    check = check_dataset(tmp_path)
    (finding,) = check.findings
    assert (finding.kind, finding.severity, finding.files) == ("timing", "warning", (path,))
    assert finding.reason.startswith("a gap of 60.06 s after frame 9; dense clips follow the usual rate")
    assert clean(check).left_out == ()


def test_a_file_that_is_listed_twice_is_a_duplicate_and_under_two_classes_a_conflict(clips):
    check = check_list(clips, ["0.mp4,0", "1.mp4,1", "0.mp4,0", "2.mp4,0", "2.mp4,1"])
    assert found(check, clips) == {("duplicate", ("0.mp4",)), ("conflicting_label", ("2.mp4",))}
    assert "listed 2 times" in check.findings[1].reason


def test_three_files_of_one_video_are_one_finding_each(clips):
    shutil.copy(clips / "0.mp4", clips / "copy.mp4")
    reencode(clips / "0.mp4", clips / "again.mp4", size=(64, 48))
    check = check_list(clips, ["0.mp4,0", "1.mp4,1", "again.mp4,0", "copy.mp4,0"])
    assert found(check, clips) == {("duplicate", ("0.mp4", "copy.mp4")), ("near_duplicate", ("0.mp4", "again.mp4"))}


def test_num_frames_sets_what_is_too_short(clips):
    lines = ["0.mp4,0", "1.mp4,1"]
    assert check_list(clips, lines, num_frames=24).findings == ()
    assert check_list(clips, lines, num_frames=25).counts == {"too_short": 2}
    with pytest.raises(ConfigError, match="num_frames=0"):
        check_list(clips, lines, num_frames=0)


def test_the_check_as_json_holds_counts_and_spread(checked):
    content = checked.to_dict()
    assert content["counts"]["leak"] == 2
    assert content["num_videos"] == {"train": 22, "val": 8}
    assert content["classes"]["nod"] == {"train": 0, "val": 0}
    assert content["sizes"] == {"80x64": 26, "56x48": 2, "80x48": 1}
    assert spread([3.0, 1.0, 2.0, 10.0]) == {"min": 1.0, "median": 2.5, "max": 10.0}
    assert spread([]) == {}


def test_a_clean_list_leaves_out_what_is_wrong(checked, planted):
    cleaned = clean(checked)
    assert {str(v.path.relative_to(planted)): v.reason for v in cleaned.left_out} == LEFT_OUT
    assert cleaned.dropped_classes == ("nod",)
    assert cleaned.train.class_names == ("bow", "clap", "wave")
    assert cleaned.val is not None
    assert len(cleaned.val.samples) == 8


def test_a_clean_list_is_read_back_and_has_no_faults(checked, tmp_path):
    written = save_clean(clean(checked), tmp_path / "clean")
    assert [path.name for path in written] == ["train.csv", "val.csv"]
    assert check_dataset(tmp_path / "clean").findings == ()
    train, val = load_split(tmp_path / "clean", "train"), load_split(tmp_path / "clean", "val")
    assert train is not None and val is not None
    assert len(train.samples) == 22 - len(LEFT_OUT)
    assert train.class_names == val.class_names


def test_a_class_without_training_videos_loses_its_validation_videos(clips):
    (clips / "classes.txt").write_text("wave\nclap\n")
    (clips / "val.csv").write_text("1.mp4,1\n3.mp4,0\n")
    cleaned = clean(check_list(clips, ["0.mp4,0", "1.mp4,1", "2.mp4,0"], val=clips / "val.csv"))
    assert [(v.path.name, v.split, v.reason) for v in cleaned.left_out] == [
        ("1.mp4", "train", "leak"),
        ("1.mp4", "val", "empty_class"),
    ]
    assert cleaned.dropped_classes == ("clap",)


def test_cleaning_a_data_set_without_good_videos_is_an_error(clips):
    with pytest.raises(DataError, match="no training video is left"):
        clean(check_list(clips, ["gone.mp4,0", "0.mp4,-1"]))


def test_clean_lists_replace_nothing_unasked(clips):
    cleaned = clean(check_list(clips, ["0.mp4,0", "1.mp4,1"]))
    with pytest.raises(ConfigError, match="no validation videos: name a list"):
        save_clean(cleaned, clips)
    save_clean(cleaned, clips / "new/clean.csv")
    with pytest.raises(ConfigError, match="--overwrite"):
        save_clean(cleaned, clips / "new/clean.csv")
    save_clean(cleaned, clips / "new/clean.csv", overwrite=True)
    assert len(load_manifest(clips / "new/clean.csv").samples) == 2


def test_both_lists_need_a_folder(checked, tmp_path):
    with pytest.raises(ConfigError, match="name a folder for both lists"):
        save_clean(clean(checked), tmp_path / "clean.csv")


def test_the_page_shows_every_finding_and_is_self_contained(checked, tmp_path):
    page = write_check_page(checked, tmp_path / "index.html").read_text()
    for kind, files in FINDINGS:
        assert f'id="{kind}"' in page
        assert all(f"{file} <span class=tag>" in page for file in files)
    num_files = sum(len(files) for _, files in FINDINGS)
    assert page.count("data:image/jpeg;base64,") == num_files - 1  # all but the one that is no video
    assert "http" not in page.replace("http-equiv", "")


def test_the_page_escapes_names_and_survives_files_that_went_away(tmp_path):
    for label in ("<b>", "c"):
        (tmp_path / "data" / label).mkdir(parents=True)
        write_clip(tmp_path / "data" / label / "&.mp4", clip("grow", "train", len(label))[:5])
    check = check_dataset(tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "c")
    page = write_check_page(check, tmp_path / "index.html").read_text()
    assert "&lt;b&gt;/&amp;.mp4" in page
    assert "<b>/" not in page
    assert page.count("data:image/jpeg") == 1


def test_the_page_of_a_good_set_says_so(clips):
    check = check_list(clips, ["0.mp4,0", "1.mp4,1"])
    assert "No problems found" in write_check_page(check, clips / "index.html").read_text()
    with pytest.raises(DataError, match="cannot be written"):
        write_check_page(check, clips / "none/index.html")
