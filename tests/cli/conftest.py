import pytest
import torch

from timesformer.cli.main import main
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.synthetic.motion import render_clip
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.model_folder import save

LABELS = ("move_left", "move_right", "shrink")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A model folder with random weights, three named classes and two frames of 16 x 24 pixels."""
    torch.manual_seed(0)
    config = ModelConfig(
        num_frames=2, image_size=(16, 24), patch_size=8, embed_dim=12, depth=2, num_heads=3, num_classes=len(LABELS)
    )
    info = ModelInfo(clip=ClipConfig(sampling="uniform", num_crops=1), labels=LABELS, license="MIT", source="a test")
    return save(TimeSformer(config, info=info), tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def video_folder(tmp_path_factory):
    """Two clips in each of three class folders."""
    folder = tmp_path_factory.mktemp("videos")
    for label in LABELS:
        (folder / label).mkdir()
        for number in range(2):
            frames = render_clip(label, seed=number, num_frames=6, size=(32, 40), background="plain")
            write_clip(folder / label / f"{number}.mp4", frames)
    return folder


@pytest.fixture
def run(capsys):
    """Run the command line in this process; gives exit status, stdout and stderr."""

    def call(*arguments):
        with pytest.raises(SystemExit) as exit_info:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return exit_info.value.code or 0, out, err

    return call
