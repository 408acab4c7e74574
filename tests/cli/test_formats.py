"""Videos that are no single files, through the command line: folders of frames, and shards."""

import json
from pathlib import Path

import pytest
from PIL import Image

from timesformer.data.synthetic.motion import render_clip

CLASSES = ("grow", "move_left")
SMALL = [
    part
    for text in (
        "model.image_size=[16, 24]",
        "model.num_frames=3",
        "model.patch_size=8",
        "model.embed_dim=12",
        "model.depth=1",
        "model.num_heads=2",
        "data.num_workers=0",
    )
    for part in ("--set", text)
]


@pytest.fixture(scope="module")
def frame_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of frames of two classes, three for training and two for validation of each."""
    folder = tmp_path_factory.mktemp("frames")
    for split, count in (("train", 3), ("val", 2)):
        for motion in CLASSES:
            for number in range(count):
                clip = folder / split / motion / f"{number}"
                clip.mkdir(parents=True)
                frames = render_clip(
                    motion, seed=10 * count + number, num_frames=8, size=(32, 40), background="texture"
                )
                for index, frame in enumerate(frames, start=1):
                    Image.fromarray(frame).save(clip / f"img_{index:05d}.jpg", quality=95)
    return folder


def train_and_evaluate(run, data, tmp_path, *, num_val: int) -> None:
    output = tmp_path / "run"
    status, _, err = run(
        "train", data, "--output", output, "--epochs", 1, "--batch-size", 2, "--device", "cpu", *SMALL, "--json"
    )
    assert status == 0, err
    status, out, err = run("evaluate", data, "--model", output, "--num-workers", 0, "--json")
    assert status == 0, err
    assert json.loads(out)["num_videos"] == num_val


def test_folders_of_frames_are_checked_trained_on_and_evaluated(run, frame_set, tmp_path):
    status, out, _ = run("check", frame_set, "--output", tmp_path / "check", "--num-workers", 0, "--json")
    assert (status, json.loads(out)["findings"]) == (0, [])
    train_and_evaluate(run, frame_set, tmp_path, num_val=4)
    status, out, _ = run(
        "predict",
        frame_set / "val/grow/0",
        frame_set / "train",
        f"{frame_set}/val/*/1",
        "--model",
        tmp_path / "run",
        "--json",
    )
    paths = [Path(json.loads(line)["path"]).relative_to(frame_set).as_posix() for line in out.splitlines()]
    assert status == 0
    assert paths[0] == "val/grow/0" and len(paths) == 9


def test_a_list_of_folders_with_the_number_of_frames_is_trained_on(run, frame_set, tmp_path):
    for split in ("train", "val"):
        lines = [
            f"{frame_set}/{split}/{motion}/{clip.name} 8 {label}"
            for label, motion in enumerate(CLASSES)
            for clip in sorted((frame_set / split / motion).iterdir())
        ]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines))
    train_and_evaluate(run, tmp_path, tmp_path, num_val=4)


def test_a_gap_in_the_frames_stops_training_with_one_line(run, frame_set, tmp_path):
    for motion in CLASSES:
        for number in range(2):
            clip = tmp_path / "videos" / motion / str(number)
            clip.mkdir(parents=True)
            for path in sorted((frame_set / "train" / motion / str(number)).iterdir()):
                (clip / path.name).write_bytes(path.read_bytes())
            (clip / "img_00004.jpg").unlink()
    status, _, err = run("train", tmp_path / "videos", "--output", tmp_path / "run", "--epochs", 1, *SMALL)
    assert status == 1
    assert "frame 4 is missing: img_00003.jpg is followed by img_00005.jpg" in err
    assert run("check", tmp_path / "videos", "--num-workers", 0)[0] == 1


def test_shards_are_checked_trained_on_and_evaluated_as_the_files_are(run, video_folder, model_folder, tmp_path):
    shards = tmp_path / "shards"
    status, out, err = run(
        "shard", video_folder, "--val", video_folder, "--output", shards, "--max-clips", 4, "--seed", 3, "--json"
    )
    assert (status, err) == (0, "")
    assert json.loads(out) == {
        "lists": [f"{shards}/train.csv", f"{shards}/val.csv"],
        "shards": [f"{shards}/{part}-00000{number}.tar" for part in ("train", "val") for number in (0, 1)],
        "num_train": 6,
        "num_val": 6,
        "num_classes": 3,
        "num_bytes": sum(path.stat().st_size for path in shards.glob("*.tar")),
    }
    status, out, _ = run(
        "check", shards, "--num-frames", 6, "--num-workers", 0, "--output", tmp_path / "page", "--json"
    )
    assert status == 1
    assert json.loads(out)["counts"] == {"leak": 6}
    train_and_evaluate(run, shards, tmp_path, num_val=6)
    numbers = []
    for data in (video_folder, shards):
        status, out, err = run("evaluate", data, "--model", model_folder, "--num-workers", 0, "--json")
        assert status == 0, err
        numbers.append(json.loads(out))
    files, packed = numbers
    assert [files[name] for name in ("top1", "confusion")] == [packed[name] for name in ("top1", "confusion")]
    sureness = [sorted(video["probability"] for video in content["predictions"]) for content in numbers]
    assert sureness[0] == pytest.approx(sureness[1], rel=1e-5)  # other videos share a batch
    lines = (shards / "val.csv").read_text().splitlines()
    member = shards / lines[0].split(",")[0]
    assert json.loads(run("predict", member, "--model", model_folder, "--json")[1])["path"] == str(member)


def test_shards_without_validation_have_one_list(run, video_folder, tmp_path):
    status, out, err = run("shard", video_folder, "--output", tmp_path / "shards")
    assert (status, out) == (0, f"{tmp_path}/shards/train.csv\n")
    assert f"videos: 6, shards: 1, together 0.0 MB\ntry it: timesformer train {tmp_path}/shards/train.csv" in err


def test_shards_are_not_replaced_unasked(run, video_folder, tmp_path):
    call = ("shard", video_folder, "--output", tmp_path / "shards", "--max-clips", 2)
    assert run(*call)[0] == 0
    status, _, err = run(*call)
    assert status == 2
    assert (
        f"error: {tmp_path}/shards/train-000000.tar: already exists; pass overwrite=True (--overwrite) to replace it"
        in err
    )
    assert run("shard", video_folder, "--output", tmp_path / "shards", "--overwrite")[0] == 0
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == [
        "classes.txt",
        "train-000000.tar",
        "train.csv",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-size", "1 gig"], "--max-size 1 gig: is not a size such as 500MB or 1GB; units are B, kB, MB, GB, TB"),
        (["--max-size", "0.1B"], "max_bytes=0 and max_clips=100000 must be at least 1"),
        (["--max-clips", "0"], "max_bytes=1000000000 and max_clips=0 must be at least 1"),
        (["--seed", "-1"], "seed=-1 must not be negative"),
    ],
)
def test_what_cannot_be_packed_is_wrong_usage(run, video_folder, tmp_path, options, message):
    status, _, err = run("shard", video_folder, "--output", tmp_path / "shards", *options)
    assert status == 2
    assert message in err
    assert not (tmp_path / "shards").exists()


def test_shards_are_not_written_into_the_data_set(run, video_folder, tmp_path):
    (tmp_path / "train.csv").write_text(f"{video_folder}/shrink/0.mp4,0\n")
    for data, output in ((video_folder, video_folder), (tmp_path / "train.csv", tmp_path)):
        status, _, err = run("shard", data, "--output", output, "--overwrite")
        assert status == 2
        assert f"error: --output {output}: holds the data set itself; name a separate folder" in err


@pytest.mark.parametrize("below", ["shards", "shrink/a/b"])
def test_shards_are_not_written_below_the_folder_of_the_data_set(run, video_folder, tmp_path, below):
    (tmp_path / "link").symlink_to(video_folder, target_is_directory=True)
    output = video_folder / below
    other = tmp_path / "other/train.csv"
    for data in ((video_folder,), (tmp_path / "link",), (other, "--val", video_folder)):
        status, _, err = run("shard", *data, "--output", output)
        assert status == 2
        assert f"error: --output {output}: is inside the data set {data[-1]}; name a folder outside it" in err
        assert not output.exists()


def test_folders_of_frames_are_not_packed(run, frame_set, tmp_path):
    status, _, err = run("shard", frame_set, "--output", tmp_path / "shards")
    assert status == 1
    assert "a folder of frames cannot be packed: encode it as a video file first" in err


def test_published_splits_are_checked_planned_trained_on_and_evaluated(run, video_folder, tmp_path):
    lists = tmp_path / "testTrainMulti_7030_splits"
    lists.mkdir()
    (tmp_path / "hmdb51_org").symlink_to(video_folder, target_is_directory=True)
    for motion in video_folder.iterdir():
        if motion.is_dir():
            (lists / f"{motion.name}_test_split1.txt").write_text("0.mp4 1 \n1.mp4 2 \n")
    train, test = lists / "train_split1", lists / "test_split1"
    status, out, err = run("check", train, "--val", test, "--num-frames", 6, "--num-workers", 0, "--json")
    assert (status, json.loads(out)["findings"]) == (0, []), err
    status, out, _ = run("train", train, "--val", test, *SMALL, "--dry-run")
    assert status == 0
    assert "3" in out and "missing" not in out
    status, _, err = run(
        "train", train, "--val", test, "--output", tmp_path / "run", "--epochs", 1, "--device", "cpu", *SMALL
    )
    assert status == 0, err
    status, out, _ = run("evaluate", test, "--model", tmp_path / "run", "--num-workers", 0, "--json")
    assert (status, json.loads(out)["num_videos"]) == (0, 3)
    status, _, err = run("train", lists, "--output", tmp_path / "other")
    assert status == 1
    assert f"contains the splits of HMDB51: name one of them: {train}, {test}" in err
