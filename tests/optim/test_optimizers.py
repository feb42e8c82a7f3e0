"""The optimizers against the papers' update equations, written out in float64."""

import numpy as np
import pytest
import torch
from torch import nn

from cifarlab.config.base import ROLES
from cifarlab.models.build import build_body
from cifarlab.models.classifier import Classifier
from cifarlab.optim.group_settings import apply_penalties
from cifarlab.optim.optimizers import build_optimizer
from cifarlab.recipes.text import build

LRS = [0.1, 0.05, 0.2, 0.01, 0.1]  # the loop sets another one before each step
SHAPE = (4, 3, 3, 2)


class Quadratic(nn.Module):
    """A loss whose gradient is ``scale * w - shift`` by hand and by autograd alike."""

    def __init__(self, dtype, memory_format):
        super().__init__()
        draws = np.random.default_rng(0)
        self.start, scale, self.shift_array = draws.normal(size=(3, *SHAPE))
        self.scale_array = np.abs(scale)
        start = torch.tensor(self.start, dtype=dtype).contiguous(memory_format=memory_format)
        self.w = nn.Parameter(start)
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.scale = torch.tensor(self.scale_array, dtype=dtype)
        self.shift = torch.tensor(self.shift_array, dtype=dtype)

    def loss(self):
        return (self.scale * self.w**2 / 2 - self.shift * self.w).sum()

    def gradient(self, w):
        return self.scale_array * w - self.shift_array


def config(**settings):
    return build({"optimizer": settings}).optimizer


def roles(**parameters):
    return {role: parameters.get(role, []) for role in ROLES}


def optimizer_of(module, **settings):
    """The optimizer over all of a module's parameters in one role."""
    return build_optimizer(config(**settings), roles(matrices=list(module.parameters())))


def train(module, optimizer):
    for lr in LRS:
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad(set_to_none=True)
        module.loss().backward()
        apply_penalties(optimizer)
        optimizer.step()
    return module.w.detach().double().numpy()


def sgd_by_hand(module, momentum, nesterov, decay):
    """Sutskever et al. 2013 in PyTorch's form: the learning rate multiplies the velocity."""
    w, velocity = module.start.copy(), np.zeros(SHAPE)
    for lr in LRS:
        gradient = module.gradient(w) + decay * w
        velocity = momentum * velocity + gradient
        w = w - lr * (gradient + momentum * velocity if nesterov else velocity)
    return w


def adamw_by_hand(module, beta1, beta2, eps, decay):
    """Loshchilov & Hutter 2019, algorithm 2, decay multiplied by the learning rate."""
    w, m, v = module.start.copy(), np.zeros(SHAPE), np.zeros(SHAPE)
    for t, lr in enumerate(LRS, 1):
        gradient = module.gradient(w)
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        unbiased_m, unbiased_v = m / (1 - beta1**t), v / (1 - beta2**t)
        w = w - lr * (unbiased_m / (np.sqrt(unbiased_v) + eps) + decay * w)
    return w


def adam_by_hand(module, beta1, beta2, eps, decay):
    """Kingma & Ba 2015, algorithm 1, with L2 in the gradient."""
    w, m, v = module.start.copy(), np.zeros(SHAPE), np.zeros(SHAPE)
    for t, lr in enumerate(LRS, 1):
        gradient = module.gradient(w) + decay * w
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        w = w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
    return w


def adagrad_by_hand(module, start, eps, decay, decoupled_decay):
    """Duchi et al. 2011, figure 1, diagonal."""
    w, total = module.start.copy(), np.full(SHAPE, float(start))
    for lr in LRS:
        gradient = module.gradient(w) + decay * w
        total = total + gradient**2
        w = w * (1 - lr * decoupled_decay) - lr * gradient / (np.sqrt(total) + eps)
    return w


def adadelta_by_hand(module, rho, eps, decay, decoupled_decay):
    """Zeiler 2012, algorithm 1, its update times the learning rate."""
    w, squares, squared_updates = module.start.copy(), np.zeros(SHAPE), np.zeros(SHAPE)
    for lr in LRS:
        gradient = module.gradient(w) + decay * w
        squares = rho * squares + (1 - rho) * gradient**2
        update = -np.sqrt(squared_updates + eps) / np.sqrt(squares + eps) * gradient
        squared_updates = rho * squared_updates + (1 - rho) * update**2
        w = w * (1 - lr * decoupled_decay) + lr * update
    return w


def rmsprop_by_hand(module, alpha, momentum, eps, decay, decoupled_decay):
    """Tieleman & Hinton 2012, lecture 6.5, with PyTorch's momentum and eps."""
    w, squares, velocity = module.start.copy(), np.zeros(SHAPE), np.zeros(SHAPE)
    for lr in LRS:
        gradient = module.gradient(w) + decay * w
        squares = alpha * squares + (1 - alpha) * gradient**2
        velocity = momentum * velocity + gradient / (np.sqrt(squares) + eps)
        w = w * (1 - lr * decoupled_decay) - lr * velocity
    return w


every_layout = pytest.mark.parametrize(
    "memory_format", [torch.contiguous_format, torch.channels_last], ids=str
)
every_dtype = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)], ids=str
)


@every_layout
@every_dtype
@pytest.mark.parametrize(
    ("momentum", "nesterov", "decay"),
    [(0, False, 0), (0.9, False, 0), (0.9, True, 0), (0.9, False, 0.1), (0.5, True, 0.1)],
)
def test_sgd(momentum, nesterov, decay, dtype, tolerance, memory_format):
    module = Quadratic(dtype, memory_format)
    settings = {"momentum": momentum, "nesterov": nesterov, "weight_decay": decay}
    got = train(module, optimizer_of(module, kind="sgd", **settings))
    expected = sgd_by_hand(module, momentum, nesterov, decay)
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


@every_layout
@every_dtype
@pytest.mark.parametrize(
    ("betas", "eps", "decay"),
    [((0.9, 0.999), 1e-8, 0), ((0.9, 0.999), 1e-8, 0.1), ((0.5, 0.7), 0.1, 0.01), ((0, 0.9), 1, 0)],
)
def test_adamw(betas, eps, decay, dtype, tolerance, memory_format):
    module = Quadratic(dtype, memory_format)
    settings = {"betas": betas, "eps": eps, "weight_decay": decay}
    got = train(module, optimizer_of(module, kind="adamw", **settings))
    expected = adamw_by_hand(module, *betas, eps, decay)
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


@every_layout
@every_dtype
@pytest.mark.parametrize(
    ("betas", "eps", "decay"), [((0.9, 0.999), 1e-8, 0), ((0.8, 0.9), 1e-4, 0.1)]
)
def test_adam(betas, eps, decay, dtype, tolerance, memory_format):
    module = Quadratic(dtype, memory_format)
    settings = {"betas": betas, "eps": eps, "weight_decay": decay}
    got = train(module, optimizer_of(module, kind="adam", **settings))
    expected = adam_by_hand(module, *betas, eps, decay)
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


BY_HAND = {
    "adagrad": (
        adagrad_by_hand,
        [
            {"initial_accumulator_value": 0, "eps": 1e-10},
            {"initial_accumulator_value": 0.5, "eps": 0.1},
        ],
    ),
    "adadelta": (adadelta_by_hand, [{"rho": 0.9, "eps": 1e-6}, {"rho": 0.5, "eps": 0.1}]),
    "rmsprop": (
        rmsprop_by_hand,
        [
            {"alpha": 0.99, "momentum": 0, "eps": 1e-8},
            {"alpha": 0.5, "momentum": 0.8, "eps": 0.1},
        ],
    ),
}


@every_layout
@every_dtype
@pytest.mark.parametrize("decoupled_weight_decay", [False, True])
@pytest.mark.parametrize("decay", [0, 0.1])
@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("kind", BY_HAND)
def test_the_ada_family(
    kind, index, decay, decoupled_weight_decay, dtype, tolerance, memory_format
):
    by_hand, cases = BY_HAND[kind]
    settings = cases[index]
    module = Quadratic(dtype, memory_format)
    penalty = {"weight_decay": decay, "decoupled_weight_decay": decoupled_weight_decay}
    got = train(module, optimizer_of(module, kind=kind, **settings, **penalty))
    penalties = (0, decay) if decoupled_weight_decay else (decay, 0)
    expected = by_hand(module, *settings.values(), *penalties)
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw", "adagrad", "adadelta", "rmsprop"])
def test_it_starts_at_the_recipe_s_lr_and_leaves_frozen_parameters_alone(kind):
    module = Quadratic(torch.float32, torch.contiguous_format)
    optimizer = optimizer_of(module, kind=kind, lr=0.3, weight_decay=0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.3]
    assert [p for group in optimizer.param_groups for p in group["params"]] == [module.w]
    train(module, optimizer)
    assert torch.equal(module.frozen, torch.ones(2))


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw", "adagrad", "adadelta", "rmsprop", "muon"])
def test_gradient_and_state_of_a_real_network_lie_in_memory_as_its_weights_do(kind):
    # the fused kernels walk memory in order: another layout would mix the weights up silently
    model = build(
        {"model": {"stem_width": 4, "depths": [1], "channels": [8], "strides": [2]}}
    ).model
    net = Classifier(build_body(model, (8, 8, 1), 3), [0.5], [0.5])
    by_role = roles(
        matrices=[p for p in net.parameters() if p.ndim == 4],
        biases=[p for p in net.parameters() if p.ndim < 4],
    )
    optimizer = build_optimizer(config(kind=kind), by_role)
    net(torch.randint(0, 256, (4, 8, 8, 1), dtype=torch.uint8)).logsumexp(1).sum().backward()
    optimizer.step()
    for p in net.parameters():
        state = [v for v in optimizer.state[p].values() if torch.is_tensor(v) and v.ndim]
        assert state
        assert all(v.stride() == p.stride() for v in [p.grad, *state])
