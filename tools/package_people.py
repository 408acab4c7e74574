"""Put a pretraining on generated people into the package, in half precision: `python tools/package_people.py RUN`.

Writes the model folder that `--init-from people` finds, and its hash into the model card.
"""

import argparse
import copy
import json
import re
from pathlib import Path

import torch

import timesformer as tsf
from timesformer.config.io import read_config
from timesformer.errors import ConfigError
from timesformer.files import replacing, sha256_of
from timesformer.people.batch import draw_batch
from timesformer.people.config import PeopleRun
from timesformer.people.pretrain import clip_size, looks_of
from timesformer.weights.source import packaged_folder

ROOT = Path(__file__).parents[1]
CARD = ROOT / "docs/models/people.md"
MOST_BYTES = 12_000_000


def package(run: Path, *, folder: Path, card: Path) -> dict[str, object]:
    """Write the model of a run in half precision, and its hash into the card.

    Args:
        run: The run folder.
        folder: The model folder; an existing one is replaced.
        card: The model card.

    Returns:
        Hash and size of the file, and the largest change of a feature, relative to their size, that rounding makes.

    Raises:
        ConfigError: The file would be larger than 12 MB.
    """
    model = tsf.load(run)
    halved = copy.deepcopy(model).half()
    size = sum(tensor.numel() * tensor.element_size() for tensor in halved.state_dict().values())
    if size > MOST_BYTES:
        raise ConfigError(
            f"{run}: has {size / 1e6:.1f} MB in half precision, at most {MOST_BYTES / 1e6:.0f} are packaged"
        )
    tsf.save(halved, folder, overwrite=True)
    weights = folder / "model.safetensors"
    digest = sha256_of(weights)
    text, count = re.subn(r"(?<=SHA-256 of the weights: `)\w+(?=`)", digest, card.read_text("utf-8"))
    assert count == 1, f"{card} has no line for the hash"
    with replacing(card) as partial:
        partial.write_text(text, "utf-8")
    return {
        "folder": str(folder),
        "sha256": digest,
        "bytes": weights.stat().st_size,
        "relative_change_of_features": _change(run, model, tsf.load(folder)),
    }


@torch.no_grad()
def _change(run: Path, model: tsf.TimeSformer, rounded: tsf.TimeSformer) -> float:
    config = read_config(run / "config.toml", kind=PeopleRun)
    batch = draw_batch(
        seed=config.seed,
        number=config.steps,
        motions=8,
        looks=looks_of(config),
        size=clip_size(config),
        device=torch.device("cpu"),
    )
    features = model.features(batch.clips)
    return float((rounded.features(batch.clips) - features).abs().max() / features.std())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder of `timesformer people`")
    print(json.dumps(package(parser.parse_args().run, folder=packaged_folder("people"), card=CARD)))
