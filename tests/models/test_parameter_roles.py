"""Which role each parameter has, by name."""

import pytest
from torch import nn

from cifarlab.config.base import ROLES
from cifarlab.models.build import build_body
from cifarlab.models.classifier import Classifier
from cifarlab.models.configs import ModelConfig
from cifarlab.models.network import parameter_roles
from cifarlab.recipes.text import build
from cifarlab.system.errors import RecipeError

SMALL_STAGES = {"depths": [1, 1], "channels": [4, 6], "strides": [1, 2], "stem_width": 4}


def roles_by_name(**settings):
    body = build_body(build({"model": settings}).model, (8, 8, 3), 10)
    classifier = Classifier(body, [0.5] * 3, [0.2] * 3)
    names = {id(p): name.removeprefix("body.") for name, p in classifier.named_parameters()}
    roles = parameter_roles(classifier)
    return {role: [names[id(p)] for p in parameters] for role, parameters in roles.items()}


def test_roles_of_airbench():
    assert roles_by_name(kind="airbench", channels=[4], depths=2) == {
        "matrices": ["groups.0.convs.0.weight", "groups.0.convs.1.weight"],
        "shortcuts": [],
        "norms": ["groups.0.norms.0.bias", "groups.0.norms.1.bias"],
        "biases": [],
        "head": ["head.weight"],
        "whitening": ["whitening.0.bias"],
    }


def test_roles_of_a_resnet():
    blocks = ["stages.stage1.0.branch", "stages.stage2.0.branch", "stages.stage2.0.shortcut"]
    layers = ["stem.{}1", *[f"{block}.{{}}{i}" for block in blocks for i in (1, 2)]]
    layers.pop()  # a shortcut has one of each
    roles = roles_by_name(**SMALL_STAGES, whitening={"kernel_size": 2}, input_norm=True)
    convolutions = {f"{layer.format('conv')}.weight" for layer in layers}
    assert roles["shortcuts"] == ["stages.stage2.0.shortcut.conv1.weight"]
    assert {*roles["matrices"], *roles["shortcuts"]} == convolutions
    norms = ["input_norm", *[layer.format("norm") for layer in layers]]
    assert set(roles["norms"]) == {f"{n}.{suffix}" for n in norms for suffix in ("weight", "bias")}
    assert roles["biases"] == []
    assert roles["head"] == ["head.weight", "head.bias"]
    assert roles["whitening"] == ["whitening.0.bias"]


@pytest.mark.parametrize("norm", ["batch", "layer", "group", "instance"])
def test_every_normalization_is_a_norm(norm):
    tree = {"kind": norm, "num_groups": 2} if norm == "group" else {"kind": norm}
    batch_norm_roles = roles_by_name(**SMALL_STAGES)
    assert roles_by_name(**SMALL_STAGES, norm=tree) == batch_norm_roles
    assert len(batch_norm_roles["norms"]) == 12


def test_roles_of_a_cnn():
    block = ["conv", "act", "norm", "pool"]
    order = ["linear", "norm", "act"]
    roles = roles_by_name(
        kind="cnn", channels=[4, 6], block=block, hidden_features=[8], linear_order=order
    )
    layers = ["blocks.block1.conv1", "blocks.block2.conv1", "hidden.linear1"]
    norms = ["blocks.block1.norm1", "blocks.block2.norm1", "hidden.norm1"]
    assert roles == {
        "matrices": [f"{name}.weight" for name in layers],
        "shortcuts": [],
        "norms": [f"{name}.{suffix}" for name in norms for suffix in ("weight", "bias")],
        "biases": [f"{name}.bias" for name in layers],
        "head": ["head.weight", "head.bias"],
        "whitening": [],
    }


def test_gains_of_a_normalizer_free_network_stand_in_for_norms():
    free = {
        "norm": {"kind": "none"},
        "weight_standardization": True,
        "order": ["act", "conv", "act", "conv", "add"],
    }
    roles = roles_by_name(**SMALL_STAGES | {"depths": [1], "channels": [4], "strides": [1]}, **free)
    block = "stages.stage1.0"
    convs = ["stem.conv1", f"{block}.branch.conv1", f"{block}.branch.conv2"]
    assert set(roles["matrices"]) == {f"{conv}.weight" for conv in convs}
    assert set(roles["biases"]) == {f"{conv}.bias" for conv in convs}
    assert set(roles["norms"]) == {f"{block}.gain", *[f"{conv}.gain" for conv in convs]}


@pytest.mark.parametrize("kind", ModelConfig.kinds())
def test_each_trainable_parameter_has_one_role(kind):
    body = build_body(build({"model": {"kind": kind}}).model, (8, 8, 1), 10)
    classifier = Classifier(body, [0.5], [0.2])
    roles = parameter_roles(classifier)
    assert tuple(roles) == ROLES
    with_role = [id(p) for parameters in roles.values() for p in parameters]
    trainable = [id(p) for p in classifier.parameters() if p.requires_grad]
    assert sorted(with_role) == sorted(trainable)


def test_frozen_scales_have_none():
    roles = roles_by_name(**SMALL_STAGES, norm={"scale": False})
    assert all(name.endswith("bias") for name in roles["norms"])
    assert len(roles["norms"]) == 6


@pytest.mark.parametrize("role", ["matrix", "norm", 3, ["norms"]], ids=str)
def test_a_misspelt_role_is_refused(role):
    layer = nn.Linear(2, 2)
    layer.parameter_roles = {"weight": role}
    with pytest.raises(RecipeError) as caught:
        parameter_roles(nn.Sequential(layer, nn.Linear(2, 2)))
    hint = "take one of matrices, shortcuts, norms, biases, head, whitening"
    assert str(caught.value) == f"the role {role!r} of weight in Linear is no role\n{hint}"
