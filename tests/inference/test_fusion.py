import torch

from timesformer.inference.fusion import fuse

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 5.0]])


def test_softmax_fusion_is_the_mean_of_the_views_probabilities():
    by_hand = (LOGITS[0].exp() / LOGITS[0].exp().sum() + LOGITS[1].exp() / LOGITS[1].exp().sum()) / 2
    torch.testing.assert_close(fuse(LOGITS, "softmax"), by_hand)


def test_logit_fusion_ranks_by_the_sum_of_logits_and_sums_to_one():
    fused = fuse(LOGITS, "logits")
    assert fused.argsort().tolist() == LOGITS.sum(dim=0).argsort().tolist()
    torch.testing.assert_close(fused.sum(), torch.tensor(1.0))


def test_both_fusions_of_one_view_are_its_softmax():
    torch.testing.assert_close(fuse(LOGITS[:1], "logits"), fuse(LOGITS[:1], "softmax"))


def test_the_fusions_can_disagree():
    logits = torch.tensor([[9.0, 0.0], [0.0, 6.0], [0.0, 2.5]])  # two of three views prefer class 1, one is very sure
    assert fuse(logits, "logits").argmax() == 0
    assert fuse(logits, "softmax").argmax() == 1
