"""`timesformer train --resume` from wherever one happens to be."""

from timesformer.training.history import read_metrics

SMALL = ("--batch-size", 2, "--device", "cpu", "--set", "model.image_size=16", "--set", "model.patch_size=8",
         "--set", "model.num_frames=2", "--set", "model.embed_dim=12", "--set", "model.depth=1",
         "--set", "model.num_heads=2", "--set", "data.num_workers=0")  # fmt: skip


def test_run_is_resumed_by_its_folder_alone(run, video_folder, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/videos").symlink_to(video_folder)
    monkeypatch.chdir(tmp_path / "here")
    assert run("train", "videos", "--epochs", 1, *SMALL, "--output", "run")[0] == 0
    monkeypatch.chdir(tmp_path)
    status, out, _ = run("train", "--resume", "--output", "here/run")
    assert (status, out) == (0, "here/run\n")
    assert len(read_metrics("here/run/metrics.csv")) == 1


def test_folder_without_a_run_is_named(run, tmp_path):
    status, _, err = run("train", "--resume", "--output", tmp_path / "none")
    assert status == 2
    assert "data.train is empty" in err
