"""`torch.export` traces a model into one graph for any batch size, masks and tiles included."""

import pytest
import torch

from tiny import random_clips, random_model, tiny_config


@pytest.mark.parametrize("scheme", ["divided_space_time", "sparse_local_global_centered"])
@torch.no_grad()
def test_exported_program_gives_batches_of_any_size_the_logits_of_the_model(scheme: str):
    config = tiny_config(scheme, depth=1)
    model = random_model(config)
    batch = torch.export.Dim("batch", min=1, max=16)
    program = torch.export.export(model, (random_clips(config),), dynamic_shapes=({0: batch},)).module()
    for size in (2, 5):
        clips = random_clips(config, batch=size)
        torch.testing.assert_close(program(clips), model(clips), rtol=1e-4, atol=1e-5)
