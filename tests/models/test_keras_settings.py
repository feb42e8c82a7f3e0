"""Keras' normalisations, starts and paddings, against their formulas written out."""

import math

import pytest
import torch
from torch import nn

from cifarlab.models.build import build_body, count_parameters
from cifarlab.models.layers import PixelNorm
from cifarlab.models.network import parameter_roles
from cifarlab.models.norm_configs import (
    BatchNormConfig,
    GroupNormConfig,
    InstanceNormConfig,
    LayerNormConfig,
)
from cifarlab.models.resnet import ResNetConfig
from cifarlab.recipes.catalog import find

EPS = 1e-3
SHAPE = (32, 32, 3)
IMAGES = torch.randn(5, 32, 6, 4, generator=torch.Generator().manual_seed(0)) * 3 + 1


def normalize(x, dims):
    """(x - mean) / sqrt(variance + eps), over those dimensions."""
    variance, mean = torch.var_mean(x, dims, correction=0, keepdim=True)
    return (x - mean) / (variance + EPS).sqrt()


def with_factors(layer):
    """Give a layer factors and shifts other than 1 and 0."""
    for parameter in layer.parameters():
        parameter.data = torch.linspace(0.5, 1.5, parameter.numel())
    return layer


@pytest.mark.parametrize("size", [(6, 4), None])
def test_layer_norm_of_each_pixel_over_its_channels(size):
    layer = with_factors(LayerNormConfig(per_pixel=True, eps=EPS).build(32, size))
    x = IMAGES if size else IMAGES[:, :, 0, 0]
    shape = (1, 32, 1, 1) if size else (1, 32)
    expected = normalize(x, 1) * layer.weight.view(shape) + layer.bias.view(shape)
    torch.testing.assert_close(layer(x), expected)


def test_32_groups_of_64_channels():
    layer = with_factors(GroupNormConfig(num_groups=32, eps=EPS).build(64, (6, 4)))
    x = torch.cat([IMAGES, IMAGES.flip(0) * 2], 1)
    grouped = normalize(x.view(5, 32, 2, 6, 4), (2, 3, 4)).view(5, 64, 6, 4)
    expected = grouped * layer.weight.view(1, 64, 1, 1) + layer.bias.view(1, 64, 1, 1)
    torch.testing.assert_close(layer(x), expected)


def test_instance_norm_is_one_group_for_each_channel():
    layer = with_factors(InstanceNormConfig(eps=EPS).build(32, (6, 4)))
    factor, shift = layer.weight.view(1, 32, 1, 1), layer.bias.view(1, 32, 1, 1)
    torch.testing.assert_close(layer(IMAGES), normalize(IMAGES, (2, 3)) * factor + shift)


def test_batch_norm_replaces_a_hundredth_of_its_running_statistics():
    layer = BatchNormConfig(momentum=0.01, eps=EPS).build(32, (6, 4))
    torch.testing.assert_close(layer(IMAGES), normalize(IMAGES, (0, 2, 3)))
    torch.testing.assert_close(layer.running_mean, 0.01 * IMAGES.mean((0, 2, 3)))
    variance = IMAGES.var((0, 2, 3))
    torch.testing.assert_close(layer.running_var, 0.99 + 0.01 * variance)


@pytest.mark.parametrize(
    "config", [BatchNormConfig, InstanceNormConfig, LayerNormConfig, GroupNormConfig]
)
def test_factors_and_shifts_may_start_small(config):
    layer = config(init="uniform").build(4096, (6, 4))
    for parameter in layer.parameters():
        assert 0.049 < parameter.abs().max() <= 0.05
        assert abs(parameter.mean()) < 0.003


def test_the_tutorial_cnn_starts_he_uniform_and_its_output_layer_glorot_uniform():
    network = build_body(find("kth2024/baseline").model, SHAPE, 10)
    first = network.blocks[0][0]
    assert 0.97 < first.weight.abs().max() / math.sqrt(6 / 27) <= 1
    hidden = network.hidden[1]
    assert 0.99 < hidden.weight.abs().max() / math.sqrt(6 / 2048) <= 1
    assert 0.97 < network.head.weight.abs().max() / math.sqrt(6 / 138) <= 1
    assert not network.head.bias.any()


def test_kth2022_s_residual_networks_start_so_too():
    network = build_body(find("kth2022/resnet-deeper").model, SHAPE, 10)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    for convolution in convolutions:
        fan_in = convolution.weight[0].numel()
        assert 0.97 < convolution.weight.abs().max() / math.sqrt(6 / fan_in) <= 1
        assert not convolution.bias.any()
    assert 0.97 < network.head.weight.abs().max() / math.sqrt(6 / 138) <= 1
    assert not network.head.bias.any()


def test_xavier_touches_the_linear_layers_alone():
    config = find("asha2021/classic").model.model_copy(update={"linear_init": "xavier_uniform"})
    torch.manual_seed(0)
    plain = build_body(find("asha2021/classic").model, SHAPE, 10)
    torch.manual_seed(0)
    network = build_body(config, SHAPE, 10)
    assert torch.equal(plain.blocks[1][0].weight, network.blocks[1][0].weight)
    assert 0.99 < network.hidden[1].weight.abs().max() / math.sqrt(6 / (400 + 120)) <= 1
    assert 0.97 < network.head.weight.abs().max() / math.sqrt(6 / (84 + 10)) <= 1


def test_valid_padding_is_the_pytorch_tutorial_s_network():
    theirs = nn.Sequential(
        *(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84)),
        *(nn.ReLU(), nn.Linear(84, 10)),
    )
    network = build_body(find("asha2021/classic").model, SHAPE, 10).eval()
    for mine, other in zip(network.parameters(), theirs.parameters(), strict=True):
        other.data = mine.data
    x = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(network(x), theirs(x))


def test_a_plain_network_is_its_branches_alone():
    plain = ResNetConfig(shortcut=False, depths=(1,), channels=(8,), strides=(2,), stem_width=8)
    network = build_body(plain, SHAPE, 10).eval()
    block = network.stages[0][0]
    x = torch.randn(2, 8, 8, 8)
    torch.testing.assert_close(block(x), block.after(block.branch(x)))
    assert count_parameters(find("fudan/plain-20").model) == 269_722
    assert block.outline().shortcut is None


def test_shortcuts_have_a_group_of_their_own_and_kth2022_does_not_decay_it():
    recipe = find("kth2022/resnet-constant")
    network = build_body(recipe.model, SHAPE, 10)
    roles = parameter_roles(network)
    assert [tuple(p.shape) for p in roles["shortcuts"]] == [(128, 64, 1, 1)]
    groups = recipe.optimizer.param_groups(roles, "float32")
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        expected = 0.0002 if parameter.ndim == 4 and parameter.shape[-1] == 3 else 0.0
        assert decays[id(parameter)] == expected, name


def test_convolutions_may_keep_their_bias_before_a_norm():
    network = build_body(find("kth2022/resnet-constant").model, SHAPE, 10)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 10
    assert all(m.bias is not None for m in convolutions)


def test_prelu_is_trained_and_sigmoid_overwrites_nothing():
    network = build_body(find("fudan/prelu").model, SHAPE, 10)
    slopes = [m.weight for m in network.modules() if isinstance(m, nn.PReLU)]
    assert len(slopes) == 23
    assert {id(p) for p in slopes} <= {id(p) for p in parameter_roles(network)["biases"]}
    x = torch.randn(2, 3, 8, 8)
    sigmoid = build_body(find("fudan/plain-20-sigmoid").model, SHAPE, 10)
    assert all(p.grad is not None for p in _gradients(sigmoid, x))


def _gradients(network, x):
    network(x).square().sum().backward()
    return list(network.parameters())


def test_the_pixel_norm_keeps_channels_last():
    x = IMAGES.contiguous(memory_format=torch.channels_last)
    assert PixelNorm(32)(x).is_contiguous(memory_format=torch.channels_last)
