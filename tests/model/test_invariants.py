"""Invariants of a model with any weights: which order it sees, what its logits depend on, which parameters learn."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from timesformer.model import TimeSformer
from timesformer.model.initialization import initialize
from tiny import SCHEME_NAMES, random_clips, random_model, tiny_config

# Without the sparse schemes: they join every second frame, so that order matters even without a time embedding.
SEES_ALL_FRAMES_ALIKE = ("axial", "divided_space_time", "joint_space_time", "parallel", "space_time_reversed")
SPARSE = ("sparse_local_global", "sparse_local_global_centered")
CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # sums in another order
FRAME_ORDER = [2, 0, 1]


def difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


@pytest.mark.parametrize("scheme", SEES_ALL_FRAMES_ALIKE)
@torch.no_grad()
def test_only_the_time_embedding_tells_the_order_of_frames(scheme: str):
    config = tiny_config(scheme)
    model, clips = random_model(config), random_clips(config)
    assert difference(model(clips[:, :, FRAME_ORDER]), model(clips)) > 1e-3
    model.embedding.time.zero_()
    torch.testing.assert_close(model(clips[:, :, FRAME_ORDER]), model(clips), **CLOSE)


@pytest.mark.parametrize("scheme", SPARSE)
@torch.no_grad()
def test_sparse_attention_tells_odd_from_even_frames_without_a_time_embedding(scheme: str):
    config = tiny_config(scheme, position_embedding="space")
    model, clips = random_model(config), random_clips(config)
    assert difference(model(clips[:, :, [1, 0, 2]]), model(clips)) > 1e-3
    torch.testing.assert_close(model(clips[:, :, [2, 1, 0]]), model(clips), **CLOSE)


@torch.no_grad()
def test_space_only_never_depends_on_the_order_of_frames():
    config = tiny_config("space_only")
    model, clips = random_model(config), random_clips(config)
    torch.testing.assert_close(model(clips[:, :, FRAME_ORDER]), model(clips), **CLOSE)


@pytest.mark.parametrize(
    "scheme", ["space_only", "joint_space_time", "divided_space_time", "space_time_reversed", "parallel"]
)
@torch.no_grad()
def test_only_the_position_embedding_tells_the_order_of_patches(scheme: str):
    config = tiny_config(scheme)
    model, clips = random_model(config), random_clips(config)
    order = torch.randperm(10)
    patches = clips.unfold(3, 4, 4).unfold(4, 4, 4).flatten(3, 4)[:, :, :, order]  # b c t (h w) p q
    shuffled = patches.unflatten(3, (2, 5)).permute(0, 1, 2, 3, 5, 4, 6).reshape(clips.shape)
    want = model(clips)
    assert difference(model(shuffled), want) > 1e-3
    model.embedding.position[:, 1:] = model.embedding.position[:, 1:][:, order]
    torch.testing.assert_close(model(shuffled), want, **CLOSE)


@pytest.mark.parametrize("scheme", ["space_only", "joint_space_time", "divided_space_time"])
@pytest.mark.parametrize("initialization", ["released", "scratch"])
@torch.no_grad()
def test_model_without_position_and_time_embeddings_ignores_all_order(scheme: str, initialization: str):
    config = tiny_config(scheme, position_embedding="none", initialization=initialization)
    model, clips = random_model(config), random_clips(config)
    columns, frames = [3, 0, 4, 1, 2], FRAME_ORDER
    shuffled = clips.unflatten(4, (5, 4))[:, :, frames][:, :, :, :, columns].flatten(4)
    torch.testing.assert_close(model(shuffled), model(clips), **CLOSE)


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
@torch.no_grad()
def test_logits_of_a_clip_do_not_depend_on_the_others_in_its_batch(scheme: str):
    config = tiny_config(scheme)
    model, clips = random_model(config), random_clips(config, batch=3)
    alone = torch.cat([model(clips[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(model(clips), alone, **CLOSE)
    others = torch.cat([clips[:1], 100 * clips[1:].flip(0)])
    torch.testing.assert_close(model(others)[:1], alone[:1], **CLOSE)


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
@torch.no_grad()
def test_two_passes_in_eval_mode_are_identical_whatever_the_rates(scheme: str):
    config = tiny_config(scheme, drop_path=0.5, dropout=0.5, attention_dropout=0.5, head_dropout=0.5)
    model, clips = random_model(config), random_clips(config)
    torch.testing.assert_close(model(clips), model(clips), rtol=0, atol=0)


@torch.no_grad()
def test_untrained_divided_model_gives_a_static_clip_the_logits_of_one_frame():
    config = tiny_config(num_frames=1)
    model, image = TimeSformer(config).eval(), random_clips(config, num_frames=1)
    torch.testing.assert_close(model(image.expand(-1, -1, 6, -1, -1)), model(image), **CLOSE)


def gradients(model: TimeSformer) -> dict[str, Tensor]:
    clips = random_clips(model.config)
    F.cross_entropy(model.train()(clips), torch.tensor([1, 4])).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def without_gradient(model: TimeSformer) -> set[str]:
    return {name for name, grad in gradients(model).items() if grad is None or not grad.abs().sum() > 0}


@pytest.mark.parametrize("scheme", [name for name in SCHEME_NAMES if name not in ("parallel", "space_time_reversed")])
def test_every_parameter_gets_a_gradient(scheme: str):
    assert without_gradient(TimeSformer(tiny_config(scheme, initialization="scratch"))) == set()


@pytest.mark.parametrize("scheme", ["parallel", "space_time_reversed"])
def test_last_step_over_time_does_not_reach_the_class_token_unless_space_follows(scheme: str):
    model = TimeSformer(tiny_config(scheme, initialization="scratch"))
    unreached = {name for name, _ in model.named_parameters() if name.startswith("blocks.1.steps.time.")}
    assert without_gradient(model) == unreached


@pytest.mark.parametrize("scheme", ["parallel", "space_time_reversed", "divided_space_time", "axial"])
def test_class_token_in_time_gives_every_parameter_a_gradient(scheme: str):
    assert without_gradient(TimeSformer(tiny_config(scheme, initialization="scratch", cls_in_time=True))) == set()


def test_at_the_released_start_only_inputs_of_a_zero_fc_get_no_gradient():
    model = TimeSformer(tiny_config())
    modules = [f"blocks.{i}.steps.time.{part}" for i in (0, 1) for part in ("norm", "attention.qkv", "attention.proj")]
    assert without_gradient(model) == {f"{module}.{kind}" for module in modules for kind in ("weight", "bias")}


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
@torch.no_grad()
def test_one_frame_and_one_patch_are_enough(scheme: str):
    config = tiny_config(scheme, num_frames=1, image_size=(4, 4))
    logits = random_model(config)(random_clips(config))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


def test_equal_seeds_give_equal_models_and_other_seeds_give_others():
    torch.manual_seed(3)
    model, weights = TimeSformer(tiny_config()), []
    for seed in (3, 4):
        torch.manual_seed(seed)
        weights.append(TimeSformer(tiny_config()).state_dict())
    torch.testing.assert_close(weights[0], dict(model.state_dict()), rtol=0, atol=0)
    assert difference(weights[0]["head.weight"], weights[1]["head.weight"]) > 1e-3


OWNS_NO_FC = {
    "space_only": "space",
    "joint_space_time": "joint",
    "divided_space_time": "space",
    "sparse_local_global": "sparse",
    "sparse_local_global_centered": "sparse",
    "axial": "height",
    "space_time_reversed": "space",
    "parallel": "space",
}


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_released_start_zeroes_the_time_embedding_and_every_fc(scheme: str):
    model = TimeSformer(tiny_config(scheme))
    zeroed = {name for name, p in model.named_parameters() if "bias" not in name and not p.any()}
    extra = [name for name in model.scheme.steps if name != OWNS_NO_FC[scheme]]
    want = {f"blocks.{i}.steps.{step}.fc.weight" for i in (0, 1) for step in extra}
    assert zeroed == want | ({"embedding.time"} if scheme != "space_only" else set())


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_start_from_scratch_zeroes_no_weight(scheme: str):
    model = TimeSformer(tiny_config(scheme, initialization="scratch"))
    assert {name for name, p in model.named_parameters() if "bias" not in name and not p.any()} == set()


def test_random_weights_have_the_documented_deviation():
    model = TimeSformer(tiny_config(embed_dim=96, image_size=(40, 40)))
    for tensor in (model.head.weight, model.blocks[0].mlp.fc1.weight, model.embedding.position):
        assert tensor.std().item() == pytest.approx(0.02, rel=0.1)


def test_initialize_sets_all_weights_but_the_patch_convolution():
    model = random_model(tiny_config())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    initialize(model)
    kept = {name for name, tensor in model.state_dict().items() if torch.equal(tensor, before[name])}
    norms = {name for name in before if "norm" in name}
    assert kept == {"embedding.patch.weight", "embedding.patch.bias"} | norms
