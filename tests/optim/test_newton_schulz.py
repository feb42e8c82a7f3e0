"""The iteration against the polar factor, by singular values."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cifarlab.optim.muon import newton_schulz

SHAPES = [(5, 5), (4, 9), (9, 4), (1, 6), (6, 1), (24, 216)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def draw(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def with_singular_values(shape, values):
    """A matrix of random singular vectors, and its polar factor."""
    u, _, vt = np.linalg.svd(draw(shape), full_matrices=False)
    return u @ np.diag(values) @ vt, u @ vt


def run(matrix, iterations, dtype=None):
    return newton_schulz(torch.tensor(matrix)[None], iterations, dtype)[0].double().numpy()


def quintic(values, iterations):
    for _ in range(iterations):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return values


def on_singular_values(values, iterations):
    """What becomes of a matrix's singular values, each for itself after the matrix is scaled."""
    return quintic(values / (np.sqrt(np.sum(values**2)) + 1e-7), iterations)


@every_shape
@pytest.mark.parametrize("iterations", [1, 3, 5])
def test_it_takes_each_singular_value_through_the_quintic_and_keeps_the_vectors(shape, iterations):
    values = np.linspace(1, 0.2, min(shape)) * 7
    matrix, _ = with_singular_values(shape, values)
    u, _, vt = np.linalg.svd(matrix, full_matrices=False)
    expected = u @ np.diag(on_singular_values(values, iterations)) @ vt
    np.testing.assert_allclose(run(matrix, iterations), expected, rtol=0, atol=1e-12)


@every_shape
def test_three_iterations_come_near_the_polar_factor_of_a_well_conditioned_matrix(shape):
    matrix, polar = with_singular_values(shape, np.linspace(1, 0.3, min(shape)))
    got = run(matrix, 3)
    values = np.linalg.svd(got, compute_uv=False)
    assert values.min() > 0.68
    assert values.max() < 1.203
    assert np.abs(polar - got).max() <= 0.32


def test_the_band_that_the_docstring_names():
    values = quintic(np.linspace(0.02, 1, 10**5), 3)
    assert (round(values.min(), 2), round(values.max(), 2)) == (0.68, 1.20)


@every_shape
def test_bfloat16_stays_near_the_exact_result_and_gives_back_float32(shape):
    matrix, _ = with_singular_values(shape, np.linspace(1, 0.3, min(shape)))
    got = newton_schulz(torch.tensor(matrix).float()[None], 3, torch.bfloat16)[0]
    assert got.dtype == torch.float32
    assert not torch.equal(got, newton_schulz(torch.tensor(matrix).float()[None], 3)[0])
    np.testing.assert_allclose(got.numpy(), run(matrix, 3), rtol=0, atol=0.04)


@every_shape
def test_a_batch_is_its_matrices_one_by_one(shape):
    matrices = torch.tensor(draw((4, *shape))) * torch.tensor([1, 1e-3, 1e3, 5])[:, None, None]
    got = newton_schulz(matrices, 3)
    for i in range(4):
        torch.testing.assert_close(got[i], newton_schulz(matrices[i : i + 1], 3)[0])


def test_the_order_of_columns_decides_nothing():
    matrix, order = draw((6, 20)), np.random.default_rng(1).permutation(20)
    np.testing.assert_allclose(run(matrix[:, order], 3), run(matrix, 3)[:, order], atol=1e-12)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_zero_gives_zero(dtype):
    assert not newton_schulz(torch.zeros(2, 3, 4), 5, dtype).any()


def test_a_tall_matrix_costs_what_its_transpose_does():
    costs = []
    for shape in ((1, 4, 40), (1, 40, 4)):
        with FlopCounterMode(display=False) as counter:
            newton_schulz(torch.ones(shape), 3)
        costs.append(counter.get_total_flops())
    assert costs[0] == costs[1] == 3 * 2 * (2 * 4 * 4 * 40 + 4 * 4 * 4)
