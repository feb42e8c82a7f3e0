"""Which role each parameter has, by name."""

from typing import get_args

import pytest

from cifarlab.models import _KINDS, Classifier, Role, build_body, parameter_roles
from cifarlab.recipe import build

SMALL_STAGES = {"blocks": [1, 1], "channels": [4, 6], "strides": [1, 2], "stem": 4}


def roles_by_name(**settings):
    body = build_body(build({"model": settings}).model, (8, 8, 3), 10)
    classifier = Classifier(body, [0.5] * 3, [0.2] * 3)
    names = {id(p): name.removeprefix("body.") for name, p in classifier.named_parameters()}
    roles = parameter_roles(classifier)
    return {role: [names[id(p)] for p in parameters] for role, parameters in roles.items()}


def test_of_the_speed_network():
    assert roles_by_name(kind="speed", channels=[4], depth=2) == {
        "matrices": ["groups.0.convs.0.weight", "groups.0.convs.1.weight"],
        "norms": ["groups.0.norms.0.bias", "groups.0.norms.1.bias"],
        "biases": [],
        "head": ["head.weight"],
        "whitening": ["whitening.0.bias"],
    }


def test_of_the_residual_network():
    blocks = ["stages.stage1.0", "stages.stage2.0"]
    norms = ["stem.1", *[f"{block}.norm{i}" for block in blocks for i in (1, 2)]]
    convs = ["stem.0", *[f"{block}.conv{i}" for block in blocks for i in (1, 2)]]
    roles = roles_by_name(**SMALL_STAGES, whitening={"kernel": 2})
    shortcut = "stages.stage2.0.shortcut"
    assert set(roles["matrices"]) == {f"{c}.weight" for c in [*convs, f"{shortcut}.1"]}
    assert set(roles["norms"]) == {
        f"{norm}.{kind}" for norm in [*norms, f"{shortcut}.2"] for kind in ("weight", "bias")
    }
    assert roles["biases"] == []
    assert roles["head"] == ["dense.weight", "dense.bias"]
    assert roles["whitening"] == ["whitening.0.bias"]


def test_of_plain_networks():
    assert roles_by_name(kind="classic_cnn") == {
        "matrices": ["0.weight", "3.weight", "7.weight", "9.weight"],
        "norms": [],
        "biases": ["0.bias", "3.bias", "7.bias", "9.bias"],
        "head": ["11.weight", "11.bias"],
        "whitening": [],
    }


@pytest.mark.parametrize("kind", _KINDS)
def test_each_trainable_parameter_has_one_role(kind):
    body = build_body(build({"model": {"kind": kind}}).model, (8, 8, 1), 10)
    classifier = Classifier(body, [0.5], [0.2])
    roles = parameter_roles(classifier)
    assert tuple(roles) == get_args(Role)
    given = [id(p) for parameters in roles.values() for p in parameters]
    wanted = [id(p) for p in classifier.parameters() if p.requires_grad]
    assert sorted(given) == sorted(wanted)


def test_frozen_scales_have_none():
    roles = roles_by_name(**SMALL_STAGES, norm={"scale": False})
    assert all(name.endswith("bias") for name in roles["norms"])
    assert len(roles["norms"]) == 6
