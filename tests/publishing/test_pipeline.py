"""What `push --also transformers` writes, in the video classification pipeline of `transformers`."""

from dataclasses import replace
from pathlib import Path

import pytest
from transformers import pipeline

from timesformer.config.schema import ClipConfig
from timesformer.inference.predictor import Predictor
from timesformer.publishing.card import CardFacts
from timesformer.publishing.folder import write_published
from tiny import random_model, square_config
from videos import write_video


@pytest.mark.parametrize("scale", [1.0, 4 / 3])
def test_the_pipeline_gives_the_classes_and_probabilities_of_predict(tmp_path: Path, scale: float) -> None:
    config = replace(square_config(), num_classes=7)
    model = random_model(config, seed=5)
    clip = ClipConfig(sampling="uniform", num_crops=1, test_scale=scale, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
    model.info = replace(model.info, clip=clip, labels=tuple("abcdefg"))
    facts = CardFacts(name="me/both", license="mit", for_transformers=True)
    folder = write_published(model, tmp_path / "both", facts=facts)
    # Both read all frames. Resized, these are 16 x 32 or 12 x 24, with crops at whole pixels: `transformers` rounds.
    video = write_video(tmp_path / "clip.mp4", num_frames=config.num_frames, width=96)
    classify = pipeline("video-classification", model=str(folder))
    theirs = classify(str(video), top_k=5)
    ours = Predictor(model, device="cpu")(video, top_k=5)
    assert [each["label"] for each in theirs] == list(ours.labels)
    # Pillow rounds resized pixels to 8 bits after each axis, which moves a probability in its third digit at most
    assert [each["score"] for each in theirs] == pytest.approx(ours.probabilities, abs=2e-3)
