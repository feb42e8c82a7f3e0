"""Muon's update against its equations in float64, and against PyTorch's Muon and SGD."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from cifarlab.optim.muon import MuonWithAuxSGD

LRS = (0.1, 0.05, 0.2, 0.01)
CONTIGUOUS, CHANNELS_LAST = torch.contiguous_format, torch.channels_last
SHAPES = [(4, 3, 3, 3), (4, 3, 3, 3), (8, 2, 1, 1), (20, 1, 3, 3), (1, 2, 2, 2), (5, 7), (9, 2)]
SETTINGS = {
    "lr": 0.1,
    "momentum": 0.6,
    "nesterov": True,
    "weight_decay": 0.0,
    "ns_steps": 3,
    "normalize_weights": True,
    "dtype": None,
    "matrices": True,
}


def draws(step, shapes=SHAPES):
    generator = np.random.default_rng(step)
    return [generator.normal(size=shape) for shape in shapes]


def parameters(shapes=SHAPES, dtype=torch.float64, memory_format=CONTIGUOUS):
    return [
        nn.Parameter(as_layout(torch.tensor(w, dtype=dtype), memory_format))
        for w in draws(99, shapes)
    ]


def as_layout(tensor, memory_format):
    return tensor.contiguous(memory_format=memory_format) if tensor.ndim == 4 else tensor


def muon(weights, **settings):
    return MuonWithAuxSGD([{"params": weights}], {**SETTINGS, **settings})


def steps(optimizer, weights, numbers=range(4), memory_format=CONTIGUOUS):
    for number in numbers:
        optimizer.param_groups[0]["lr"] = LRS[number]
        for p, g in zip(weights, draws(number, [p.shape for p in weights]), strict=True):
            p.grad = as_layout(torch.tensor(g, dtype=p.dtype), memory_format)
        optimizer.step()
    return [p.detach().double().numpy() for p in weights]


def newton_schulz_by_hand(matrix, iterations):
    x = matrix / (np.sqrt(np.sum(matrix**2)) + 1e-7)
    if len(x) > x.shape[1]:
        return newton_schulz_by_hand(matrix.T, iterations).T
    for _ in range(iterations):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


def by_hand(shape_number, momentum, nesterov, weight_decay, ns_steps, normalize_weights, **_):
    w = draws(99)[shape_number]
    buffer = np.zeros_like(w)
    for number, lr in enumerate(LRS):
        g = draws(number)[shape_number]
        buffer = momentum * buffer + g
        direction = g + momentum * buffer if nesterov else buffer
        if normalize_weights:
            w = w * np.sqrt(len(w)) / np.sqrt(np.sum(w**2))
        w = w * (1 - lr * weight_decay)
        update = newton_schulz_by_hand(direction.reshape(len(w), -1), ns_steps)
        w = w - lr * update.reshape(w.shape)
    return w


every_layout = pytest.mark.parametrize("memory_format", [CONTIGUOUS, CHANNELS_LAST], ids=str)


@every_layout
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 5e-5)], ids=str
)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"nesterov": False},
        {"momentum": 0.0},
        {"normalize_weights": False},
        {"weight_decay": 0.3},
        {"weight_decay": 0.3, "normalize_weights": False},
        {"ns_steps": 5, "momentum": 0.9},
    ],
    ids=str,
)
def test_matrices_by_the_equations(settings, dtype, tolerance, memory_format):
    weights = parameters(dtype=dtype, memory_format=memory_format)
    got = steps(muon(weights, **settings), weights, memory_format=memory_format)
    for number, w in enumerate(got):
        expected = by_hand(number, **{**SETTINGS, **settings})
        np.testing.assert_allclose(w, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (6, 6)], ids=str)
@pytest.mark.parametrize("nesterov", [False, True])
def test_against_pytorch_s_muon_up_to_bfloat16(shape, nesterov):
    # its buffer and its directions are (1 - momentum) times ours: the iteration divides that out
    settings = {"momentum": 0.6, "nesterov": nesterov, "weight_decay": 0.1}
    ours, theirs = parameters([shape], torch.float32), parameters([shape], torch.float32)
    optimizer = muon(ours, **settings, normalize_weights=False, dtype=torch.bfloat16, ns_steps=5)
    reference = torch.optim.Muon(
        theirs, lr=0.1, ns_steps=5, ns_coefficients=(3.4445, -4.7750, 2.0315), **settings
    )
    rows, columns = shape
    for number in range(4):
        (gradient,) = draws(number, [shape])
        for (p,), updater in ((ours, optimizer), (theirs, reference)):
            p.grad = torch.tensor(gradient).float()
            updater.step()
    start = parameters([shape], torch.float32)[0] * (1 - 0.1 * 0.1) ** 4
    scale = max(1, rows / columns) ** 0.5  # PyTorch's factor on the rate of tall matrices
    update, expected = ours[0] - start, theirs[0] - start
    torch.testing.assert_close(update * scale, expected, rtol=0, atol=0.01)
    assert expected.abs().max() > 0.15


@every_layout
@pytest.mark.parametrize(
    ("momentum", "nesterov", "decay"), [(0, False, 0), (0.9, False, 0.1), (0.85, True, 0.1)]
)
def test_other_parameters_are_updated_as_by_pytorch_s_sgd(momentum, nesterov, decay, memory_format):
    shapes = [*SHAPES, (6,)]
    ours, theirs = (parameters(shapes, torch.float32, memory_format) for _ in range(2))
    settings = {"lr": 0.1, "momentum": momentum, "nesterov": nesterov, "weight_decay": decay}
    optimizer = muon(parameters([(2, 2)]))
    optimizer.add_param_group({"params": ours, "matrices": False, **settings})
    reference = torch.optim.SGD(theirs, foreach=True, **settings)
    for number, lr in enumerate(LRS):
        optimizer.param_groups[1]["lr"] = reference.param_groups[0]["lr"] = lr
        for p, q, g in zip(ours, theirs, draws(number, shapes), strict=True):
            p.grad = as_layout(torch.tensor(g).float(), memory_format)
            q.grad = p.grad.clone()
        optimizer.step()
        reference.step()
    assert all(torch.equal(p, q) for p, q in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_zero_matrix_or_a_zero_gradient_gives_no_nan(dtype):
    weights = [nn.Parameter(torch.zeros(3, 4)), nn.Parameter(torch.ones(4, 4))]
    optimizer = muon(weights, dtype=dtype)
    for zero in (weights, weights[:1], weights[1:]):
        for p in weights:
            p.grad = torch.zeros_like(p) if p in set(zero) else torch.randn_like(p)
        optimizer.step()
    assert all(p.isfinite().all() for p in weights)


def test_with_no_gradient_at_all_a_normalised_zero_matrix_stays_zero():
    weights = [nn.Parameter(torch.zeros(3, 4))]
    weights[0].grad = torch.zeros(3, 4)
    muon(weights).step()
    assert not weights[0].any()


def test_a_parameter_without_a_gradient_is_left_alone():
    weights = parameters()
    before = [p.detach().clone() for p in weights]
    optimizer = muon(weights, weight_decay=0.1)
    steps(optimizer, weights[1:])
    optimizer.zero_grad(set_to_none=True)
    optimizer.step()
    assert torch.equal(weights[0], before[0])
    assert weights[0] not in optimizer.state
    assert not any(torch.equal(p, b) for p, b in zip(weights[1:], before[1:], strict=True))


def test_the_state_is_one_buffer_in_the_parameter_s_layout():
    weights = parameters(memory_format=CHANNELS_LAST)
    optimizer = muon(weights)
    steps(optimizer, weights, memory_format=CHANNELS_LAST)
    for p in weights:
        (name,) = optimizer.state[p]
        assert name == "momentum_buffer"
        assert optimizer.state[p][name].stride() == p.stride()
        assert p.ndim < 4 or p.is_contiguous(memory_format=CHANNELS_LAST)


def test_a_gradient_that_lies_otherwise_in_memory_changes_nothing():
    weights, others = (parameters(memory_format=CHANNELS_LAST) for _ in range(2))
    expected = steps(muon(weights), weights, memory_format=CHANNELS_LAST)
    got = steps(muon(others), others, memory_format=CONTIGUOUS)
    for w, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(w, e, rtol=0, atol=1e-12)


def test_a_step_never_reads_a_number_from_the_device():
    # a tensor on the meta device has no numbers: to ask for one is an error
    weights = [nn.Parameter(torch.empty(shape, device="meta")) for shape in SHAPES]
    others = [nn.Parameter(torch.empty(6, device="meta"))]
    optimizer = muon(weights, weight_decay=0.1)
    optimizer.add_param_group({"params": others, "matrices": False})
    for p in [*weights, *others]:
        p.grad = torch.empty_like(p)
    optimizer.step()
    with pytest.raises(RuntimeError, match="meta"):  # so this test can fail
        weights[0].sum().item()


class Calls(TorchDispatchMode):
    """The names of all operators that run."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@every_layout
def test_matrices_of_equal_shape_are_multiplied_together_and_nothing_is_copied(memory_format):
    weights = parameters(memory_format=memory_format)
    optimizer = muon(weights)
    steps(optimizer, weights, range(1), memory_format)
    with Calls() as calls:
        optimizer.step()
    shapes = {(len(p), p.numel() // len(p)) for p in weights}
    assert len(shapes) == len(weights) - 1
    assert calls.names.count("bmm") == 3 * len(shapes)
    assert not {"clone", "_to_copy", "contiguous"} & set(calls.names)


@every_layout
def test_saved_and_restored_in_the_middle_it_goes_on_to_the_last_bit(memory_format):
    settings = {"dtype": torch.float32, "memory_format": memory_format}
    complete, first = parameters(**settings), parameters(**settings)
    expected = steps(muon(complete), complete, memory_format=memory_format)
    saving = muon(first)
    steps(saving, first, range(2), memory_format)
    second = [nn.Parameter(p.detach().clone()) for p in first]
    restored = muon(second)
    slots = {
        number: {
            name: torch.empty_like(second[number], requires_grad=False).copy_(value.contiguous())
            for name, value in slot.items()
        }
        for number, slot in saving.state_dict()["state"].items()
    }
    restored.load_state_dict(
        {"state": slots, "param_groups": restored.state_dict()["param_groups"]}
    )
    got = steps(restored, second, range(2, 4), memory_format)
    assert all(np.array_equal(w, e) for w, e in zip(got, expected, strict=True))
    third = [nn.Parameter(p.detach().clone()) for p in saving.param_groups[0]["params"]]
    forgetful = steps(muon(third), third, range(2, 4), memory_format)
    assert not any(np.array_equal(w, e) for w, e in zip(forgetful, expected, strict=True))
