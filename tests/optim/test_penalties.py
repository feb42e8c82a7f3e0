"""L1, L2 and decoupled decay, each on the parameters that the recipe names, in float64 by hand."""

import pytest
import torch
from torch import nn

from cifarlab.config.base import ROLES
from cifarlab.optim.group_settings import apply_penalties
from cifarlab.optim.optimizers import build_optimizer
from cifarlab.recipes.text import build

LR = 0.25
START = torch.tensor([[-2.0, -0.5, 0.0, 0.5, 2.0]], dtype=torch.float64)
SLOPE = torch.tensor([[1.0, -1.0, 0.5, 0.25, 3.0]], dtype=torch.float64)


def take_steps(steps=3, **settings):
    """Each role's weights after some steps on the loss SLOPE * w."""
    weights = {role: nn.Parameter(START.clone()) for role in ROLES}
    config = build({"optimizer": {"lr": LR, **settings}}).optimizer
    optimizer = build_optimizer(config, {role: [w] for role, w in weights.items()})
    for _ in range(steps):
        optimizer.zero_grad()
        sum((SLOPE * w).sum() for w in weights.values()).backward()
        apply_penalties(optimizer)
        optimizer.step()
    return {role: w.detach() for role, w in weights.items()}


def by_hand(steps=3, l1=0.0, l2=0.0, decoupled_weight_decay=0.0):
    w = START.clone()
    for _ in range(steps):
        gradient = SLOPE + l1 * w.sign() + l2 * w
        w = w - LR * decoupled_weight_decay * w - LR * gradient
    return w


PLAIN = {"kind": "sgd", "momentum": 0}


def test_l1_adds_the_weights_signs_and_nothing_at_zero():
    for w in take_steps(**PLAIN, l1=0.125).values():
        torch.testing.assert_close(w, by_hand(l1=0.125), rtol=0, atol=0)


def test_l1_is_the_gradient_of_the_loss_with_the_sum_of_the_absolute_weights():
    w = START[START != 0].clone().requires_grad_()
    (0.125 * w.abs().sum()).backward()
    torch.testing.assert_close(w.grad, 0.125 * w.detach().sign())


def test_l2_and_decoupled_decay_are_the_same_without_momentum_and_not_with_it():
    l2 = take_steps(**PLAIN, weight_decay=0.5)["head"]
    decoupled_decay = take_steps(**PLAIN, weight_decay=0.5, decoupled_weight_decay=True)["head"]
    torch.testing.assert_close(l2, by_hand(l2=0.5))
    torch.testing.assert_close(decoupled_decay, by_hand(decoupled_weight_decay=0.5))
    torch.testing.assert_close(l2, decoupled_decay)
    heavy = {"kind": "sgd", "momentum": 0.5, "weight_decay": 0.5}
    assert not torch.allclose(
        take_steps(**heavy)["head"], take_steps(**heavy, decoupled_weight_decay=True)["head"]
    )


def test_decoupled_sgd_is_sgdw():
    """Loshchilov & Hutter 2019, algorithm 1, in PyTorch's form of momentum."""
    settings = {"kind": "sgd", "momentum": 0.5, "weight_decay": 0.5, "decoupled_weight_decay": True}
    w, velocity = START.clone(), torch.zeros_like(START)
    for _ in range(3):
        velocity = 0.5 * velocity + SLOPE
        w = w - LR * 0.5 * w - LR * velocity
    torch.testing.assert_close(take_steps(**settings)["matrices"], w)


def test_decoupled_adam_is_adamw():
    settings = {"weight_decay": 0.5, "betas": [0.5, 0.75]}
    weights = {role: nn.Parameter(START.clone()) for role in ROLES}
    config = build({"optimizer": {"kind": "adamw", "lr": LR, **settings}}).optimizer
    adamw = build_optimizer(config, {role: [w] for role, w in weights.items()})
    config = build({"optimizer": {"kind": "adam", "lr": LR, "betas": [0.5, 0.75]}}).optimizer
    others = {role: nn.Parameter(START.clone()) for role in ROLES}
    adam = build_optimizer(config, {role: [w] for role, w in others.items()})
    for group in adam.param_groups:
        group["decoupled_decay"] = 0.5
    for optimizer, parameters in ((adamw, weights), (adam, others)):
        for _ in range(3):
            optimizer.zero_grad()
            sum((SLOPE * w).sum() for w in parameters.values()).backward()
            apply_penalties(optimizer)
            optimizer.step()
    for role in ROLES:
        torch.testing.assert_close(others[role], weights[role])


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw", "adagrad", "adadelta", "rmsprop", "muon"])
def test_every_penalty_can_be_kept_from_a_role(kind):
    no_penalty = {"l1": 0, "weight_decay": 0}
    groups = {"norms": no_penalty, "biases": no_penalty}
    penalty = {"l1": 0.125, "weight_decay": 0.5}
    if kind == "muon":
        penalty = {"l1": 0.125, "aux_sgd": {"weight_decay": 0.5}}
    with_penalty = take_steps(kind=kind, **penalty, **groups)
    reference = take_steps(kind=kind, weight_decay=0)
    for role in ("norms", "biases"):
        assert torch.equal(with_penalty[role], reference[role])
    for role in ("head", "whitening"):
        assert not torch.allclose(with_penalty[role], reference[role], atol=1e-3)


def test_a_parameter_without_a_gradient_is_left_alone():
    w = nn.Parameter(START.clone())
    config = build(
        {"optimizer": {"l1": 1.0, "weight_decay": 1.0, "decoupled_weight_decay": True}}
    ).optimizer
    optimizer = build_optimizer(config, {role: [] for role in ROLES} | {"head": [w]})
    apply_penalties(optimizer)
    optimizer.step()
    assert torch.equal(w, START)
