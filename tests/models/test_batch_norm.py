"""The recipe's batch normalisation, and its momentum over several passes per step."""

import pytest
import torch
from torch import nn

from cifarlab.models import Classifier, adapt_to_passes, build_body
from cifarlab.models.layers import batch_norm
from cifarlab.recipe import build
from cifarlab.recipe.networks import BatchNorm

STAGES = {"blocks": [1, 1], "channels": [4, 6], "strides": [1, 2], "stem": 4}
TREES = [{**STAGES}, {"kind": "speed", "channels": [4, 6], "depth": 3}]


def norms(tree):
    body = build_body(build({"model": tree}).model, (8, 8, 3), 10)
    return body, [m for m in body.modules() if isinstance(m, nn.BatchNorm2d)]


def test_the_default_is_torch_s_own_to_the_bit():
    ours, torch_s = batch_norm(BatchNorm(), 3), nn.BatchNorm2d(3)
    assert (ours.momentum, ours.eps) == (torch_s.momentum, torch_s.eps) == (0.1, 1e-5)
    assert ours.weight.requires_grad
    assert ours.bias.requires_grad


def test_airbench_s_values_by_the_formula():
    layer = batch_norm(BatchNorm(scale=False, momentum=0.6, eps=1e-12), 2)
    assert not layer.weight.requires_grad
    assert layer.bias.requires_grad
    x = torch.tensor([[1.0, 10.0], [3.0, 30.0]])[:, :, None, None]
    torch.testing.assert_close(layer(x).flatten(1), torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
    # 0.6 of the old values 0 and 1, 0.4 of the mean and the unbiased variance
    torch.testing.assert_close(layer.running_mean, torch.tensor([0.4 * 2, 0.4 * 20]))
    torch.testing.assert_close(layer.running_var, torch.tensor([0.6 + 0.4 * 2, 0.6 + 0.4 * 200]))


def test_eps_is_added_to_the_variance():
    layer = batch_norm(BatchNorm(eps=3.0), 1)
    x = torch.tensor([-1.0, 1.0])[:, None, None, None]
    torch.testing.assert_close(layer(x).flatten(), torch.tensor([-0.5, 0.5]))


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_every_norm_of_a_network_is_the_recipe_s(tree):
    part = {"scale": False, "momentum": 0.75, "eps": 0.001}
    _, found = norms({**tree, "norm": part})
    assert len(found) == 6
    assert {(n.momentum, n.eps, n.weight.requires_grad) for n in found} == {(0.25, 0.001, False)}


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_one_pass_per_step_changes_nothing(tree):
    body, found = norms(tree)
    before = [norm.momentum for norm in found]
    adapt_to_passes(body, 1)
    assert [norm.momentum for norm in found] == before


@pytest.mark.parametrize("passes", [2, 3, 8])
@pytest.mark.parametrize("share", [0.0, 0.6, 0.9])
def test_several_passes_keep_the_share_of_one_step(passes, share):
    body, found = norms({**TREES[1], "norm": {"momentum": share}})
    classifier = Classifier(body, [0.5] * 3, [0.2] * 3)
    adapt_to_passes(classifier, passes)
    assert {norm.momentum for norm in found} == {found[0].momentum}
    layer = found[0]
    layer.running_mean.fill_(5.0)
    for _ in range(passes):
        layer(torch.zeros(2, 4, 1, 1))
    torch.testing.assert_close(layer.running_mean, torch.full((4,), 5 * share))
