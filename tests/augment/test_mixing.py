"""mixup and CutMix against their papers' equations in float64, image by image; their draws."""

import numpy as np
import pytest
import torch
from scipy import stats

from cifarlab.augment.mixing import beta_quantile, cutmix, cutmix_box, mixup
from cifarlab.recipes.text import build

NONE, MIXUP, CUTMIX = (
    build({"augment": {"mix": {"kind": k}}}).augment.mix for k in ("none", "mixup", "cutmix")
)


def mix_of(kind, **settings):
    return build({"augment": {"mix": {"kind": kind, **settings}}}).augment.mix


def images_of(count, height=6, width=5, channels=3):
    shape = (count, height, width, channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.5, 1.0])
def test_mixup_is_the_paper_s_equation(lam):
    """x = lambda * x_i + (1 - lambda) * x_j (section 2)."""
    images, partners = images_of(4), [2, 0, 3, 1]
    got = mixup(torch.from_numpy(images), torch.tensor(partners), lam)
    assert got.dtype == torch.float32
    for i, j in enumerate(partners):
        expected = lam * images[i].astype(float) + (1 - lam) * images[j].astype(float)
        np.testing.assert_allclose(got[i], expected, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("box", [(1, 4, 0, 3), (0, 6, 0, 5), (2, 2, 1, 4), (5, 6, 4, 5)])
def test_cutmix_is_the_paper_s_equation(box, dtype):
    """x = M * x_A + (1 - M) * x_B, with M zero inside the box; lambda = mean of M (equation 1)."""
    images, partners = images_of(4), [2, 0, 3, 1]
    mask = np.ones((6, 5, 1))
    for row in range(box[0], box[1]):
        for column in range(box[2], box[3]):
            mask[row, column] = 0
    got, lam = cutmix(torch.from_numpy(images).to(dtype), torch.tensor(partners), box)
    assert got.dtype == dtype
    assert lam == pytest.approx(mask.mean(), abs=1e-12)
    for i, j in enumerate(partners):
        np.testing.assert_array_equal(got[i], mask * images[i] + (1 - mask) * images[j])


@pytest.mark.parametrize("lam", [0.0, 0.2, 0.75, 0.999, 1.0])
@pytest.mark.parametrize("center", [[0.5, 0.5], [0.0, 0.999], [0.1, 0.3]])
def test_a_box_has_the_area_of_the_paper_before_the_border_cuts_it(lam, center):
    """r_w = W sqrt(1 - lambda) (equation 2), halves rounded down as in the paper's code."""
    height, width = 32, 20
    top, bottom, left, right = cutmix_box((height, width), lam, center)
    for low, high, side, axis in ((top, bottom, height, 0), (left, right, width, 1)):
        half = int(side * np.sqrt(1 - lam)) // 2
        middle = int(side * center[axis])
        pixels = [p for p in range(middle - half, middle + half) if 0 <= p < side]
        assert list(range(low, high)) == pixels


def test_a_box_in_the_middle_covers_1_minus_lambda():
    top, bottom, left, right = cutmix_box((32, 32), 0.75, [0.5, 0.5])
    assert (bottom - top) * (right - left) == 16 * 16


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 5.0])
def test_lambdas_follow_the_beta_distribution(alpha):
    config, images = mix_of("mixup", alpha=alpha), torch.zeros(2, 1, 1, 1)
    lams = [config.mix(images, 0, 0, step)[2] for step in range(1500)]
    assert stats.kstest(lams, stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    assert stats.kstest(lams, stats.beta(alpha * 2, alpha * 2).cdf).pvalue < 1e-3


def test_a_quantile_is_its_beta_variate():
    for alpha in (0.3, 1.0, 40.0):
        for quantile in (0.01, 0.5, 0.9):
            assert beta_quantile(alpha, quantile) == pytest.approx(
                stats.beta(alpha, alpha).ppf(quantile)
            )


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
@pytest.mark.parametrize("prob", [0.05, 0.3, 1.0])
def test_prob_is_the_fraction_of_mixed_batches(kind, prob):
    config, images = mix_of(kind, prob=prob), torch.zeros(4, 32, 32, 1)
    outcomes = [config.mix(images, 0, 0, step) for step in range(1000)]
    drawn = [partners is not None for _, partners, _ in outcomes]
    # std 0.0145; a box of no area, one in 250, mixes nothing
    assert np.mean(drawn) == pytest.approx(prob, abs=0.06)
    assert all((lam < 1) == was for (*_, lam), was in zip(outcomes, drawn, strict=True))


@pytest.mark.parametrize("config", [MIXUP, CUTMIX], ids=["mixup", "cutmix"])
def test_partners_and_lambda_describe_the_mixed_batch(config):
    images = images_of(7, 12, 10)
    checked = 0
    for step in range(20):
        got, partners, lam = config.mix(torch.from_numpy(images), 0, 1, step)
        if partners is None:
            continue
        assert sorted(partners.tolist()) == list(range(7))
        assert 0 <= lam < 1
        for i, j in enumerate(partners.tolist()):
            mine, image, other = got[i].double().numpy(), images[i] / 1.0, images[j] / 1.0
            if config is MIXUP:
                np.testing.assert_allclose(mine, lam * image + (1 - lam) * other, atol=1e-4)
            elif i != j:
                from_other = (mine == other).all(2) & (mine != image).any(2)
                assert ((mine == image).all(2) | from_other).all()
                assert from_other.mean() == pytest.approx(1 - lam, abs=1e-9)
        checked += 1
    assert checked > 15


def test_none_leaves_all_as_it_is():
    images = torch.zeros(4, 5, 5, 1, dtype=torch.uint8)
    got, partners, lam = NONE.mix(images, 0, 0, 0)
    assert got is images
    assert (partners, lam) == (None, 1.0)


@pytest.mark.parametrize(("kind", "dtype"), [("mixup", torch.float32), ("cutmix", torch.uint8)])
def test_batches_have_one_type_whether_they_are_drawn_or_not(kind, dtype):
    """Else a compiled network would be compiled anew in the middle of training."""
    config, images = mix_of(kind, prob=0.5), torch.zeros(4, 8, 8, 1, dtype=torch.uint8)
    outcomes = [config.mix(images, 0, 0, step) for step in range(30)]
    assert {partners is None for _, partners, _ in outcomes} == {True, False}
    assert {got.dtype for got, *_ in outcomes} == {dtype}


@pytest.mark.parametrize("config", [MIXUP, CUTMIX], ids=["mixup", "cutmix"])
def test_draws_are_new_in_each_epoch_step_and_seed_and_else_the_same(config):
    images = torch.from_numpy(images_of(20, 32, 32))
    times = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    lams = [config.mix(images, *time)[2] for time in times]
    assert len(set(lams)) == 4
    second_call = config.mix(images, *times[0])
    assert second_call[2] == lams[0]
    assert torch.equal(second_call[0], config.mix(images, *times[0])[0])


@pytest.mark.parametrize("config", [MIXUP, CUTMIX], ids=["mixup", "cutmix"])
def test_the_caller_s_images_stay_as_they_are(config):
    images = torch.from_numpy(images_of(20, 32, 32))
    before = images.clone()
    assert not torch.equal(config.mix(images, 0, 0, 0)[0].float(), before.float())
    assert torch.equal(images, before)
