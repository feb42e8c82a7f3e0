"""SGD whose velocity includes the learning rate, against Keras' formula written out."""

import pytest
import torch

from cifarlab.optim.velocity_sgd import VelocitySGD

LRS = [0.1, 0.1, 0.01, 0.0, 0.01, 0.001]


def gradient(w):
    """Of a bowl that is steeper along some directions."""
    return torch.linspace(0.5, 3, len(w), dtype=w.dtype) * w


def train(make, lrs):
    """The weights after steps at those learning rates."""
    w = torch.linspace(-1, 2, 7, dtype=torch.float64).requires_grad_()
    optimizer = make([w])
    for lr in lrs:
        optimizer.param_groups[0]["lr"] = lr
        w.grad = gradient(w.detach())
        optimizer.step()
    return w.detach()


def velocity_sgd(parameters, nesterov=False, weight_decay=0.0):
    group = {"params": parameters, "weight_decay": weight_decay}
    return VelocitySGD([group], lr=0.1, momentum=0.9, nesterov=nesterov)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_it_is_keras_formula(nesterov, weight_decay):
    w, v = torch.linspace(-1, 2, 7, dtype=torch.float64), torch.zeros(7, dtype=torch.float64)
    for lr in LRS:
        g = gradient(w) + weight_decay * w
        v = 0.9 * v - lr * g
        w = w + 0.9 * v - lr * g if nesterov else w + v
    trained = train(lambda p: velocity_sgd(p, nesterov, weight_decay), LRS)
    torch.testing.assert_close(trained, w)


@pytest.mark.parametrize("nesterov", [False, True])
def test_at_a_constant_lr_it_is_pytorchs_and_after_a_jump_it_is_not(nesterov):
    def theirs(parameters):
        return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=nesterov)

    def ours(parameters):
        return velocity_sgd(parameters, nesterov)

    torch.testing.assert_close(train(ours, [0.1] * 6), train(theirs, [0.1] * 6))
    jump = [0.1, 0.1, 0.01]
    assert (train(ours, jump) - train(theirs, jump)).abs().max() > 0.01


def test_its_velocity_survives_a_checkpoint_and_parameters_without_gradient_stay():
    w, left = torch.ones(3, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer = velocity_sgd([w, left])
    w.grad = torch.ones(3)
    optimizer.step()
    restored = velocity_sgd([torch.ones(3, requires_grad=True), torch.ones(2, requires_grad=True)])
    restored.load_state_dict(optimizer.state_dict())
    assert torch.equal(left, torch.ones(2))
    state = restored.state[restored.param_groups[0]["params"][0]]
    assert torch.equal(state["velocity"], torch.full((3,), -0.1))
