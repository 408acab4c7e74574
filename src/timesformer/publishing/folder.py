"""What is published: a folder with the model, its card and its pictures."""

from contextlib import suppress
from pathlib import Path

from PIL import Image

from timesformer.config.io import read_config
from timesformer.config.run import RunConfig
from timesformer.errors import TimeSformerError
from timesformer.files import sha256_of
from timesformer.model.timesformer import TimeSformer
from timesformer.outputs import writing
from timesformer.publishing.card import EXAMPLE, PICTURE, CardFacts, model_card
from timesformer.publishing.picture import accuracy_picture
from timesformer.weights.formats.transformers import save_transformers
from timesformer.weights.model_folder import save


def write_published(
    model: TimeSformer,
    folder: str | Path,
    *,
    facts: CardFacts,
    example: Image.Image | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the folder that `push` uploads.

    Args:
        model: The model.
        folder: Target folder.
        facts: What the card states.
        example: Picture of an example, such as `draw_strip` draws; it shows frames of a video.
        overwrite: Replace an existing model folder.

    Raises:
        ConfigError: The folder exists and `overwrite` is False, or `transformers` cannot express the model.
        WeightsError: The folder cannot be written.
    """
    folder = (save_transformers if facts.for_transformers else save)(model, folder, overwrite=overwrite)
    pictures = {}
    if facts.measured is not None and facts.measured.classes:
        pictures[PICTURE] = accuracy_picture(facts.measured)
    if example is not None:
        pictures[EXAMPLE] = example
    sha256 = sha256_of(folder / "model.safetensors")
    with writing(folder):
        for name, picture in pictures.items():
            picture.save(folder / name, optimize=True)
        card = model_card(model, facts, weights_sha256=sha256, pictures=tuple(pictures))
        (folder / "README.md").write_text(card, "utf-8")
    return folder


def read_run(source: str | Path) -> RunConfig | None:
    """Config of the run that a model comes from; None if the source is not a run folder."""
    path = Path(source).expanduser() / "config.toml"
    with suppress(TimeSformerError):  # of another release: the card then states less
        return read_config(path, kind=RunConfig) if path.is_file() else None
    return None
