"""The whitening layer against loops over patches; who has one; what is saved."""

import numpy as np
import pytest
import torch
from torch import nn

from cifarlab.models.build import build_body
from cifarlab.models.classifier import Classifier
from cifarlab.models.configs import WhiteningConfig
from cifarlab.models.whitening import Whitening, fix_signs, patch_moment
from cifarlab.recipes.text import build

NARROW = {
    "airbench": {"channels": [4]},
    "resnet": {"stem_width": 4, "depths": [1], "channels": [4], "strides": [1]},
}


def config(kind, kernel_size=2, **whitening):
    part = {"kernel_size": kernel_size, **whitening}
    return build({"model": {"kind": kind, **NARROW[kind], "whitening": part}}).model


def classifier(kind="airbench", kernel_size=2, channels=3, seed=0):
    torch.manual_seed(seed)
    body = build_body(config(kind, kernel_size), (8, 8, channels), 10)
    return Classifier(body, [0.4, 0.5, 0.6][:channels], [0.25, 0.2, 0.3][:channels])


def smooth_images(count=40, channels=3, seed=0):
    """uint8 (N, 8, 9, C), whose neighbouring pixels and channels go together."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 12, (count, 8, 9, channels)) + rng.normal(0, 12, (count, 8, 9, 1))
    images = 128 + steps.cumsum(1) + steps.cumsum(2)
    return torch.from_numpy(images.clip(0, 255).astype(np.uint8))


def patches_one_by_one(pixels, kernel_size):
    """(M, C k k) in float64 from (N, C, H, W)."""
    patches = []
    for image in np.asarray(pixels, np.float64):
        for row in range(image.shape[1] - kernel_size + 1):
            for column in range(image.shape[2] - kernel_size + 1):
                patch = image[:, row : row + kernel_size, column : column + kernel_size]
                patches.append(patch.reshape(-1))
    return np.array(patches)


def whitening(channels, kernel_size, eps, n_components):
    config = WhiteningConfig(kernel_size=kernel_size, eps=eps, n_components=n_components)
    return Whitening(channels, config)


@pytest.mark.parametrize("kernel_size", [1, 2, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_whitened_patches_are_uncorrelated_with_unit_power(kernel_size, channels):
    pixels = (smooth_images(channels=channels).permute(0, 3, 1, 2).float() - 120) / 60
    layer = whitening(channels, kernel_size, 1e-9, None)
    layer.fit([pixels])
    features = channels * kernel_size**2
    filters = layer.weight.numpy().reshape(2 * features, features).astype(np.float64)
    np.testing.assert_array_equal(filters[features:], -filters[:features])
    white = patches_one_by_one(pixels, kernel_size) @ filters[:features].T
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(features), atol=1e-4)


def test_filters_are_eigenvectors_over_the_root_of_eigenvalue_and_eps():
    pixels = torch.randn(6, 2, 5, 5, dtype=torch.float64) * torch.tensor([2.0, 0.1])[:, None, None]
    layer = whitening(2, 2, 0.05, None)
    layer.fit([pixels])
    patches = patches_one_by_one(pixels, 2)
    moment = patches.T @ patches / len(patches)
    previous = 0.0
    for filter_ in layer.weight[:8].double().numpy().reshape(8, 8):
        direction = filter_ / np.linalg.norm(filter_)
        power = direction @ moment @ direction
        np.testing.assert_allclose(moment @ direction, power * direction, atol=1e-6)
        assert np.linalg.norm(filter_) == pytest.approx((power + 0.05) ** -0.5, rel=1e-6)
        assert power > previous
        previous = power


def test_the_strongest_directions_are_kept():
    pixels = smooth_images().permute(0, 3, 1, 2).float() / 60
    every, some = whitening(3, 2, 5e-4, None), whitening(3, 2, 5e-4, 5)
    for layer in (every, some):
        layer.fit([pixels])
    strongest = every.weight[7:12]
    assert torch.equal(some.weight, torch.cat((strongest, -strongest)))
    assert some.bias.shape == (10,)
    assert some(pixels).shape == (40, 10, 7, 8)


@pytest.mark.parametrize("n_components", [12, 13, 100])
def test_there_are_no_more_directions_than_entries(n_components):
    assert len(whitening(3, 2, 5e-4, n_components).bias) == 24


def test_a_recipe_says_how_many_directions():
    model = config("airbench", n_components=4)
    net = build_body(model, (8, 8, 3), 10)
    assert net.whitening[0].weight.shape == (8, 3, 2, 2)
    assert net.groups[0].convs[0].in_channels == 8


def test_the_moment_does_not_depend_on_the_batches():
    pixels = torch.randn(7, 3, 6, 5)
    patches = patches_one_by_one(pixels, 3)
    expected = patches.T @ patches / len(patches)
    for batches in ([pixels], pixels.split(3), pixels.split(1)):
        np.testing.assert_allclose(
            patch_moment(batches, 3).numpy(), expected, rtol=1e-12, atol=1e-15
        )


def test_signs_are_fixed_by_the_first_of_the_largest_entries():
    columns = [[0.5, 0.1, 0.5], [-0.5 - 1e-12, -0.9, -0.5 - 1e-5], [0.0, 0.3, 0.2]]
    columns = torch.tensor(columns, dtype=torch.float64)
    expected = columns * torch.tensor([1, -1, -1])
    assert torch.equal(fix_signs(columns), expected)
    assert torch.equal(fix_signs(-columns), expected)


def test_the_filters_have_those_signs():
    layer = whitening(3, 2, 5e-4, None)
    layer.fit([torch.randn(20, 3, 6, 6)])
    filters = layer.weight[:12].flatten(1)
    assert torch.equal(filters.amax(1), filters.abs().amax(1))


def test_equal_images_give_equal_filters_whatever_was_there():
    first, second = classifier(seed=0), classifier(seed=1)
    images = smooth_images()
    second.fit_whitening(smooth_images(seed=5))
    other = second.body.whitening[0].weight.clone()
    for net in (first, second):
        net.fit_whitening(images)
    assert torch.equal(first.body.whitening[0].weight, second.body.whitening[0].weight)
    assert not torch.allclose(second.body.whitening[0].weight, other, atol=1e-3)


def test_dark_borders_give_finite_filters():
    net = classifier(channels=1)
    net.fit_whitening(torch.zeros(3, 8, 8, 1, dtype=torch.uint8))
    assert net.body.whitening[0].weight.isfinite().all()


@pytest.mark.parametrize("kind", NARROW)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_classifier_fits_to_what_the_body_sees(kind, channels):
    net = classifier(kind, channels=channels).eval()
    images = smooth_images(70, channels)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.fit_whitening(images)
    seen = []
    layer = net.body.whitening[0]
    layer.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    net(images)
    expected = whitening(channels, 2, layer.eps, None)
    expected.fit([seen[0]])
    torch.testing.assert_close(layer.weight, expected.weight, rtol=1e-5, atol=1e-5)
    after = net.state_dict()
    changed = [name for name in after if not torch.equal(after[name], before[name])]
    assert changed == ["body.whitening.0.weight"]


def test_numpy_images_are_images_too():
    nets = classifier(), classifier()
    nets[0].fit_whitening(smooth_images())
    nets[1].fit_whitening(smooth_images().numpy())
    weights = [net.body.whitening[0].weight for net in nets]
    assert torch.equal(*weights)


@pytest.mark.parametrize("kind", NARROW)
def test_the_layer_comes_first_and_an_activation_follows(kind):
    net = classifier(kind).eval()
    net.fit_whitening(smooth_images())
    layer, act = net.body.whitening
    x = torch.randn(2, 3, 8, 8)
    patches = torch.from_numpy(patches_one_by_one(x, 2)).float()
    expected = patches @ layer.weight.flatten(1).T + layer.bias
    seen = []
    rest = net.body.groups if kind == "airbench" else net.body.stem
    rest.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    net.body(x)
    expected = act(expected).view(2, 7, 7, 24).permute(0, 3, 1, 2)
    torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-4)
    assert type(act) is (nn.GELU if kind == "airbench" else nn.ReLU)


def test_filters_are_frozen_and_zero_before_the_fit_and_biases_start_as_pytorch_s():
    layer = whitening(3, 5, 5e-4, None)
    assert not layer.weight.requires_grad
    assert not layer.weight.any()
    assert layer.bias.requires_grad
    bound = (3 * 5 * 5) ** -0.5
    assert 0.9 * bound < layer.bias.abs().max() <= bound
    assert layer.bias.min() < 0 < layer.bias.max()


@pytest.mark.parametrize("kind", NARROW)
def test_the_filters_are_saved_with_the_weights(kind):
    net, other = classifier(kind), classifier(kind, seed=1)
    net.fit_whitening(smooth_images())
    other.load_state_dict(net.state_dict())
    images = smooth_images(seed=2)
    assert torch.equal(other.eval()(images), net.eval()(images))


def test_a_network_without_the_layer_is_left_as_it_is():
    for kind in NARROW:
        net = classifier(kind, kernel_size=0)
        before = {name: value.clone() for name, value in net.state_dict().items()}
        net.fit_whitening(smooth_images())
        assert not any("whitening" in name for name in before)
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("kind", NARROW)
def test_how_many_images_a_network_wants(kind):
    assert classifier(kind).n_whitening_images == 5000
    assert classifier(kind, kernel_size=0).n_whitening_images == 0
    fewer = WhiteningConfig(kernel_size=2, images=7)
    model = config(kind, 2).model_copy(update={"whitening": fewer})
    assert Classifier(model.build((8, 8, 3), 10), [0.5] * 3, [0.5] * 3).n_whitening_images == 7


def test_a_residual_network_trains_behind_the_layer():
    net = classifier("resnet")
    net.fit_whitening(smooth_images())
    net(smooth_images()).square().sum().backward()
    layer = net.body.whitening[0]
    assert layer.weight.grad is None
    assert layer.bias.grad.any()
