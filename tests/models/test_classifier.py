"""The normalisation inside the network, against its formula in float64."""

import numpy as np
import pytest
import torch
from torch import nn

from cifarlab.models.build import build_body
from cifarlab.models.classifier import Classifier
from cifarlab.models.configs import ModelConfig
from cifarlab.recipes.text import build

MEANS = {1: [0.31], 3: [0.4914, 0.4822, 0.4465]}
STDS = {1: [0.19], 3: [0.2470, 0.2435, 0.2616]}


class FlattenBody(nn.Module):
    """A body that gives back its input as its logits."""

    memory_format = torch.channels_last

    def forward(self, x):
        self.input = x
        return x.flatten(1)


def images(channels):
    return np.random.default_rng(0).integers(0, 256, (4, 5, 7, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_channel_is_normalized_by_its_formula(channels):
    classifier = Classifier(FlattenBody(), MEANS[channels], STDS[channels])
    pixels = images(channels)
    classifier(torch.from_numpy(pixels))
    expected = np.empty((4, channels, 5, 7))
    for c in range(channels):
        expected[:, c] = (pixels[..., c] / 255.0 - MEANS[channels][c]) / STDS[channels][c]
    np.testing.assert_allclose(classifier.body.input.numpy(), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_each_image_is_normalized_by_its_own_mean_and_std(channels, dtype):
    classifier = Classifier(FlattenBody(), [0.0] * channels, [1.0] * channels, by_image=True)
    pixels = images(channels)
    pixels[1] //= 20  # a dark one
    classifier(torch.from_numpy(pixels).to(dtype))
    for image, got in zip(pixels / 255.0, classifier.body.input.double().numpy(), strict=True):
        expected = (image - image.mean()) / np.sqrt(((image - image.mean()) ** 2).mean())
        np.testing.assert_allclose(got, expected.transpose(2, 0, 1), rtol=0, atol=1e-4)
    assert classifier.body.input.is_contiguous(memory_format=torch.channels_last)


def test_an_image_without_contrast_is_no_division_by_zero():
    classifier = Classifier(FlattenBody(), [0.0], [1.0], by_image=True)
    flat = torch.full((1, 4, 4, 1), 77, dtype=torch.uint8)
    classifier(flat)
    np.testing.assert_allclose(classifier.body.input, 0, atol=1e-4)
    flat[0, 0, 0] = 78  # a standard deviation of a quarter grey level counts as 1
    classifier(flat)
    np.testing.assert_allclose(classifier.body.input[0, 0, 0, 0], 15 / 16, atol=1e-4)


def test_the_body_sees_channels_last_without_a_copy_of_the_layout():
    classifier = Classifier(FlattenBody(), MEANS[3], STDS[3])
    classifier(torch.from_numpy(images(3)))
    assert classifier.body.input.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_body_without_memory_format_sees_pytorch_s_usual_layout(channels):
    class ViewBody(nn.Module):
        def forward(self, x):
            return x.view(len(x), -1)  # fails on channels_last

    pixels = torch.from_numpy(images(channels))
    body = nn.Sequential(nn.Conv2d(channels, 4, 3), ViewBody())
    classifier = Classifier(body, MEANS[channels], STDS[channels])
    assert classifier(pixels).shape == (4, 4 * 3 * 5)


def test_logits_are_float32_whatever_the_body_makes():
    classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(105, 2)), MEANS[3], STDS[3])
    with torch.autocast("cpu", torch.bfloat16):
        assert classifier(torch.from_numpy(images(3))).dtype == torch.float32


def test_floats_from_0_to_255_are_read_as_bytes_are():
    classifier = Classifier(FlattenBody(), MEANS[3], STDS[3])
    pixels = torch.from_numpy(images(3))
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(classifier(pixels), classifier(pixels.to(dtype)))


def test_the_caller_s_images_stay_as_they_are():
    pixels = torch.from_numpy(images(3)).float()
    before = pixels.clone()
    Classifier(nn.Sequential(nn.ReLU(inplace=True), nn.Flatten()), MEANS[3], STDS[3])(pixels)
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("kind", ModelConfig.kinds())
def test_logits_are_no_rounded_bfloat16(kind):
    """Rounded ones tie, and ties go to the lower class number."""
    model = build({"model": {"kind": kind}}).model
    classifier = Classifier(build_body(model, (8, 8, 1), 10), [0.5], [0.5]).eval()
    images = torch.randint(0, 256, (20, 8, 8, 1), dtype=torch.uint8)
    classifier.fit_whitening(images)
    with torch.autocast("cpu", torch.bfloat16):
        logits = classifier(images)
    assert logits.dtype == torch.float32
    assert (logits != logits.bfloat16().float()).float().mean() > 0.9


def test_the_normalization_is_saved_with_the_weights_but_not_trained():
    classifier = Classifier(nn.Linear(2, 2), MEANS[3], STDS[3])
    state = classifier.state_dict()
    torch.testing.assert_close(state["mean"], torch.tensor(MEANS[3]))
    torch.testing.assert_close(state["std"], torch.tensor(STDS[3]))
    assert {name for name, _ in classifier.named_parameters()} == {"body.weight", "body.bias"}
