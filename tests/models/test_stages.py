"""Stages: every parameter but the linear layers' belongs to one, in the order of the data."""

import pytest
import torch

from cifarlab.models.build import build_body
from cifarlab.models.classifier import Classifier
from cifarlab.models.network import stages
from cifarlab.recipes.text import build

RESNET = {
    "stem_width": 16,
    "depths": [1, 2],
    "channels": [16, 20],
    "strides": [1, 2],
    "input_norm": True,
}
NETWORKS = {
    "resnet": (RESNET, 2),
    "pre-activation": (
        {**RESNET, "order": ["norm", "act", "conv", "norm", "act", "conv", "add"]},
        2,
    ),
    "cnn": ({"kind": "cnn", "channels": [8, 8, 16], "hidden_features": [24, 16]}, 3),
    "cnn without pools": ({"kind": "cnn", "channels": [4, 8], "block": ["conv", "act"]}, 2),
    "airbench": ({"kind": "airbench", "channels": [8, 16, 16]}, 3),
}
every_network = pytest.mark.parametrize("kind", NETWORKS)


def network(kind, **settings):
    torch.manual_seed(0)
    part = build({"model": {**NETWORKS[kind][0], **settings}}).model
    return Classifier(build_body(part, (16, 16, 3), 5), [0.4] * 3, [0.25] * 3)


def names(net):
    by_identity = {id(p): name for name, p in net.named_parameters()}
    return [[by_identity[id(p)] for p in stage] for stage in stages(net)]


@every_network
def test_each_parameter_is_in_one_stage_or_in_a_linear_layer(kind):
    net = network(kind)
    staged = [name for stage in names(net) for name in stage]
    linear = [
        f"{name}.{parameter}"
        for name, module in net.named_modules()
        if isinstance(module, torch.nn.Linear)
        for parameter, _ in module.named_parameters(recurse=False)
    ]
    assert len(staged) == len(set(staged))
    assert sorted(staged + linear) == sorted(name for name, _ in net.named_parameters())
    assert len(stages(net)) == NETWORKS[kind][1]


@every_network
def test_a_stage_comes_after_the_ones_before_it(kind):
    # a change in stage n changes the output of the convolutions of later stages, of no earlier one
    net = network(kind).eval()
    images = torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8)
    layer_inputs = {}
    convolutions = {
        name: module for name, module in net.named_modules() if isinstance(module, torch.nn.Conv2d)
    }
    for name, module in convolutions.items():
        module.register_forward_hook(
            lambda _, args, out, name=name: layer_inputs.update({name: args[0].detach().clone()})
        )
    net(images)
    before = dict(layer_inputs)
    parts = names(net)
    stage_of = {name.rpartition(".")[0]: n for n, part in enumerate(parts) for name in part}
    for number, part in enumerate(stages(net)):
        with torch.no_grad():
            values = [p.clone() for p in part]
            for p in part:
                p.add_(0.5)
        net(images)
        changed_names = {n for n in convolutions if not torch.equal(before[n], layer_inputs[n])}
        assert {stage_of[name] for name in changed_names} <= set(range(number, len(parts)))
        later_names = {name for name in convolutions if stage_of[name] > number}
        assert later_names <= changed_names
        with torch.no_grad():
            for p, value in zip(part, values, strict=True):
                p.copy_(value)


@pytest.mark.parametrize("kind", ["resnet", "airbench"])
def test_a_whitening_layer_is_in_the_first_stage(kind):
    net = network(kind, whitening={"kernel_size": 2})
    assert any("whitening" in name for name in names(net)[0])
