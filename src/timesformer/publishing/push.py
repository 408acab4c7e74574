"""`push`: publish a model on the Hugging Face hub."""

import tempfile
from dataclasses import replace
from pathlib import Path

from PIL import Image

from timesformer.model.timesformer import TimeSformer
from timesformer.publishing.card import CardFacts
from timesformer.publishing.folder import write_published
from timesformer.publishing.upload import Pushed, upload


def push(
    model: TimeSformer,
    facts: CardFacts,
    *,
    example: Image.Image | None = None,
    revision: str | None = None,
    private: bool = False,
    message: str = "Upload a TimeSformer",
    overwrite: bool = False,
) -> Pushed:
    """Publish a model on the Hugging Face hub, with a card that states license, accuracy, preprocessing and limits.

    The token is that of `hf auth login` or of the environment variable HF_TOKEN. All files are uploaded as one commit.

    Args:
        model: The model, which stays unchanged; its published copy states `facts.license`.
        facts: Hub id, license, and what else the card states.
        example: Picture of an example, such as the strip of an explanation; it shows frames of a video.
        revision: Branch, which is created if there is none; the hub's main branch if None.
        private: Visibility of a repository that is created.
        message: First line of the commit.
        overwrite: Add a version to a repository that already holds files; earlier versions stay in its history.

    Raises:
        ConfigError: The name is not a hub id, the repository holds files and `overwrite` is False, or `transformers`
            cannot express the model.
        TimeSformerError: The hub cannot be reached or refuses.
    """
    info = model.info
    try:
        model.info = replace(info, license=facts.license)
        with tempfile.TemporaryDirectory() as temporary:
            folder = write_published(model, Path(temporary) / "model", facts=facts, example=example)
            return upload(folder, facts.name, revision=revision, private=private, message=message, overwrite=overwrite)
    finally:
        model.info = info
