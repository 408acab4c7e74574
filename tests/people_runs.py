"""A tiny pretraining on generated people, whose sizes differ on every axis."""

import torch

from timesformer.config.schema import ModelConfig
from timesformer.people.config import PeopleRun
from timesformer.people.render import Frame

CPU = torch.device("cpu")
SIZE = Frame(height=48, width=40, moments=6)
MODEL = ModelConfig(
    num_frames=2,
    image_size=(SIZE.height, SIZE.width),
    patch_size=8,
    embed_dim=12,
    depth=1,
    num_heads=3,
    drop_path=0.0,
    initialization="scratch",
    num_classes=2,
)
TINY = PeopleRun(steps=6, batch_size=4, device="cpu", precision="fp32", model=MODEL)
