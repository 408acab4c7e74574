"""Weights of a model folder that changed on the disk are refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from timesformer.weights.checksum import checksum

from timesformer.config.schema import ModelConfig
from timesformer.errors import WeightsError
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.load import load
from timesformer.weights.model_folder import save

TINY = ModelConfig(num_frames=2, image_size=16, patch_size=8, embed_dim=12, depth=1, num_heads=3, num_classes=4)


@pytest.fixture
def folder(tmp_path):
    return save(TimeSformer(TINY), tmp_path / "model")


def test_any_flipped_bit_of_a_weight_is_refused(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    first = 8 + int.from_bytes(whole[:8], "little")
    for position in range(first, len(whole), 997):
        content = bytearray(whole)
        content[position] ^= 1 << position % 8
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"model\.safetensors: damaged: the checksum of its weights is wrong"):
            load(folder)


def test_weights_that_other_software_wrote_have_no_checksum(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["head.bias"] += 1
    save_file(tensors, path, metadata={"format": "pt"})
    assert torch.equal(load(folder).head.bias, tensors["head.bias"])


def test_checksum_covers_names_types_and_shapes(folder):
    zero = torch.zeros(4, 3)
    sums = {checksum({name: tensor}) for name, tensor in
            [("a", zero), ("b", zero), ("a", zero.T), ("a", zero.to(torch.int32)), ("a", torch.zeros(()))]}  # fmt: skip
    assert len(sums) == 5
    content = (folder / "model.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["__metadata__"]["crc32"] == checksum(load_file(folder / "model.safetensors"))
