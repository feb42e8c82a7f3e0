"""Groups of parameters by role: whose settings they get, and that nothing else changes by them."""

import numpy as np
import pytest
import torch
from torch import nn

from cifarlab.config.base import ROLES
from cifarlab.optim.optimizers import build_optimizer
from cifarlab.recipes.text import build
from cifarlab.system.errors import RecipeError

KINDS = ("sgd", "adamw", "muon")
every_kind = pytest.mark.parametrize("kind", KINDS)


def parameter(seed, *shape):
    return nn.Parameter(torch.tensor(np.random.default_rng(seed).normal(size=shape)).float())


def by_role():
    return {
        "matrices": [parameter(0, 4, 6), parameter(1, 4, 3, 3, 3)],
        "shortcuts": [],
        "norms": [parameter(2, 4), parameter(3, 4)],
        "biases": [parameter(4, 5)],
        "head": [parameter(5, 3, 4)],
        "whitening": [parameter(6, 7)],
    }


def build_for(roles, **settings):
    return build_optimizer(build({"optimizer": settings}).optimizer, roles)


def train(optimizer, roles, steps=4):
    """Gradients that depend on the step and on the parameter's role alone."""
    for step in range(steps):
        for role in ROLES:
            draws = np.random.default_rng([step, ROLES.index(role)])
            for p in roles[role]:
                p.grad = torch.tensor(draws.normal(size=p.shape)).float()
        optimizer.step()
    return {role: [p.detach().clone() for p in parameters] for role, parameters in roles.items()}


def same(some, others):
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


@every_kind
def test_without_settings_of_their_own_all_roles_are_treated_alike(kind):
    roles = by_role()
    groups = build_for(roles, kind=kind, lr=0.3).param_groups
    assert len(groups) == (2 if kind == "muon" else 1)  # Muon's matrices are a group in any case
    numbered = [id(p) for group in groups for p in group["params"]]
    assert numbered == [id(p) for role in ROLES for p in roles[role]]


@every_kind
def test_a_setting_of_one_s_own_makes_a_group_of_each_role_that_has_parameters(kind):
    roles = by_role() | {"whitening": []}
    groups = build_for(roles, kind=kind, norms={"weight_decay": 0.25}).param_groups
    names = ("matrices", "norms", "biases", "head")
    assert [[id(p) for p in g["params"]] for g in groups] == [
        [id(p) for p in roles[name]] for name in names
    ]


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_each_group_has_its_own_settings_and_else_the_rest_s(kind):
    settings = {"norms": {"lr": 0.5}, "head": {"weight_decay": 0}}
    settings["whitening"] = {"until": "3 epochs"}
    groups = build_for(by_role(), kind=kind, lr=0.2, weight_decay=0.1, **settings).param_groups
    assert [group["peak_lr"] for group in groups] == [0.2, 0.5, 0.2, 0.2, 0.2]
    assert [group["lr"] for group in groups] == [0.2, 0.5, 0.2, 0.2, 0.2]
    assert [group["weight_decay"] for group in groups] == [0.1, 0.1, 0.1, 0, 0.1]
    assert [str(group["until"]) for group in groups] == ["None"] * 4 + ["3 epochs"]
    assert {group["peak_momentum"] for group in groups} == {0.9 if kind == "sgd" else None}


def test_muon_s_other_groups_take_their_defaults_from_aux_sgd():
    settings = {
        "lr": 0.2,
        "momentum": 0.6,
        "nesterov": False,
        "weight_decay": 0.1,
        "aux_sgd": {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.01},
        "biases": {"lr": 0.5},
        "head": {"weight_decay": 0.02},
    }
    groups = build_for(by_role(), kind="muon", **settings).param_groups
    assert [group["peak_lr"] for group in groups] == [0.2, 0.05, 0.5, 0.05, 0.05]
    assert [group["weight_decay"] for group in groups] == [0.1, 0.01, 0.01, 0.02, 0.01]
    assert [group["matrices"] for group in groups] == [True, False, False, False, False]
    assert [group["nesterov"] for group in groups] == [False, True, True, True, True]
    for key in ("momentum", "peak_momentum"):
        assert [group[key] for group in groups] == [0.6, 0.8, 0.8, 0.8, 0.8]


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_roles_alone_change_no_bit_of_training(kind):
    together, mixed, separate = by_role(), by_role(), by_role()
    got = train(build_for(together, kind=kind, weight_decay=0.1), together)
    order = [p for role in reversed(ROLES) for p in mixed[role]]
    in_one = {role: [] for role in ROLES} | {"matrices": order}
    expected = train(build_for(in_one, kind=kind, weight_decay=0.1), mixed)
    grouped = build_for(separate, kind=kind, weight_decay=0.1, head={"weight_decay": 0.1})
    assert len(grouped.param_groups) == 5
    others = train(grouped, separate)
    for role in ROLES:
        assert same(got[role], expected[role])
        assert same(got[role], others[role])


@every_kind
@pytest.mark.parametrize("group", ["norms", "biases", "head", "whitening"])
@pytest.mark.parametrize("setting", ["lr", "weight_decay"])
def test_a_group_s_setting_changes_that_group_and_no_other(kind, group, setting):
    roles, changed = by_role(), by_role()
    before = train(build_for(roles, kind=kind), roles)
    after = train(build_for(changed, kind=kind, **{group: {setting: 0.37}}), changed)
    assert [role for role in ROLES if not same(before[role], after[role])] == [group]


@every_kind
@pytest.mark.parametrize("group", ["shortcuts", "norms", "biases", "whitening"])
@pytest.mark.parametrize(
    "settings", [{"lr": 0.5}, {"weight_decay": 0.1}, {"l1": 0.1}, {"until": "0 epochs"}], ids=str
)
def test_settings_of_a_role_without_parameters_are_refused(kind, group, settings):
    roles = by_role() | {group: []}
    with pytest.raises(RecipeError, match=f"optimizer.{group} is set, but this network trains no"):
        build_for(roles, kind=kind, **{group: settings})
    # no penalty on biases is a rule for any network
    build_for(roles, kind=kind, weight_decay=0.1, **{group: {"weight_decay": 0, "l1": 0}})


@every_kind
def test_parameters_that_are_frozen_from_the_start_take_no_part(kind):
    roles = by_role()
    roles["whitening"][0].requires_grad_(False)
    groups = build_for(roles, kind=kind).param_groups
    assert id(roles["whitening"][0]) not in {id(p) for g in groups for p in g["params"]}


def test_muon_computes_in_bfloat16_only_where_the_run_does():
    config = build({"optimizer": {"kind": "muon"}}).optimizer
    weights = {}
    for precision in ("float32", "bfloat16"):
        roles = by_role()
        weights[precision] = train(build_optimizer(config, roles, precision), roles)
    default = by_role()
    weights["default"] = train(build_optimizer(config, default), default)
    for role in ROLES:
        assert same(weights["float32"][role], weights["default"][role])
        equal = same(weights["float32"][role], weights["bfloat16"][role])
        assert equal == (role != "matrices")
    for a, b in zip(weights["float32"]["matrices"], weights["bfloat16"]["matrices"], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0.03)
        assert b.dtype == torch.float32
