"""What every network promises, at every size: a new kind is tested by existing."""

import pytest
import torch
from foreign_plugin import PLUGIN
from torch.nn.functional import cross_entropy

from cifarlab.config.family import allow_plugins
from cifarlab.models.build import build_body, count_parameters
from cifarlab.models.classifier import Classifier
from cifarlab.models.configs import ModelConfig
from cifarlab.models.resnet_modules import ResidualBlock
from cifarlab.recipes.text import build

PRE = ["norm", "act", "conv", "norm", "act", "dropout", "conv", "add"]
RESNET = {"stem_width": 16, "depths": [1, 2], "channels": [16, 20], "strides": [1, 2]}
NORMED = {"kind": "cnn", "channels": [4, 8], "hidden_features": [24]}
NORMED |= {"block": ["conv", "act", "norm", "pool"], "linear_order": ["linear", "act", "norm"]}
# A narrow version of each kind. A new kind must be added here.
NARROWED = {
    "resnet": {"stem_width": 16, "depths": [1, 1], "channels": [16, 20], "strides": [1, 2]},
    "cnn": {"kind": "cnn", "channels": [8, 8, 16], "hidden_features": 16},
    "airbench": {"kind": "airbench", "channels": [8, 12]},
}
with allow_plugins([PLUGIN.sha256]):
    NARROW = {
        kind: NARROWED.get(kind, {"kind": kind}) for kind in ModelConfig.kinds() if kind != "misfit"
    }
GROUPS = {"kind": "group", "num_groups": 4}
VARIANTS = {
    **NARROW,
    "classic": {
        "kind": "cnn",
        "init": "default",
        "channels": [4, 8],
        "kernel_size": 5,
        "block": ["conv", "act", "pool"],
        "hidden_features": [24, 16],
    },
    "no hidden linear layer": {
        "kind": "cnn",
        "channels": [8],
        "hidden_features": [],
        "kernel_size": 1,
    },
    "normed cnn": NORMED,
    "layer-normed cnn": {**NORMED, "norm": {"kind": "layer"}},
    "group-normed cnn": {**NORMED, "norm": GROUPS},
    "layer-normed airbench": {"kind": "airbench", "channels": [8, 12], "norm": {"kind": "layer"}},
    "airbench without norm": {"kind": "airbench", "channels": [8, 12], "norm": {"kind": "none"}},
    "pre-activation": {**RESNET, "order": PRE},
    "bottleneck": {**RESNET, "channels": [8, 10], "block": "bottleneck"},
    "pre-activated bottleneck": {
        **RESNET,
        "channels": [8, 10],
        "block": "bottleneck",
        "order": PRE,
    },
    "kth2022": {
        **RESNET,
        "input_norm": True,
        "order": ["conv", "act", "norm", "conv", "dropout", "add", "act", "norm"],
    },
    "group-normed": {**RESNET, "norm": GROUPS, "weight_standardization": True},
    "instance-normed": {**RESNET, "norm": {"kind": "instance"}, "input_norm": True},
    "without norm": {**RESNET, "norm": {"kind": "none"}},
    "normalizer-free": {
        **RESNET,
        "norm": {"kind": "none"},
        "weight_standardization": True,
        "order": ["act", "conv", "act", "conv", "add"],
    },
}
SIZES = (8, 9, 28, 32, 33, 64, 96)
every_kind = pytest.mark.parametrize("kind", VARIANTS)
every_case = pytest.mark.parametrize(
    ("kind", "size", "channels", "classes"),
    [(k, s, c, n) for k in NARROW for s in SIZES for c in (1, 3) for n in (2, 10, 100)]
    + [(k, s, c, 10) for k in VARIANTS if k not in NARROW for s in (8, 33, 96) for c in (1, 3)],
)


def config(kind, **settings):
    return build({"plugins": [PLUGIN], "model": {**VARIANTS[kind], **settings}}).model


def network(kind, size=9, channels=3, classes=10, seed=0, **settings):
    torch.manual_seed(seed)
    body = build_body(config(kind, **settings), (size, size, channels), classes)
    for block in body.modules():
        if (
            isinstance(block, ResidualBlock) and block.normalizer_free
        ):  # at 0 nothing passes a branch
            block.gain.data.fill_(0.7)
    net = Classifier(body, [0.4] * channels, [0.25] * channels)
    net.fit_whitening(batch(size, channels)[0])
    return net


def trainable(net):
    return {name: p for name, p in net.named_parameters() if p.requires_grad}


def batch(size=9, channels=3, classes=10, count=6):
    draws = torch.Generator().manual_seed(1)
    shape = (count, size, size, channels)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=draws)
    return images, torch.arange(count) % classes


def test_every_kind_is_among_them():
    assert NARROW.keys() >= {"resnet", "cnn", "airbench", "foreign"}
    assert all(config(kind).kind == kind for kind in NARROW)


@every_case
def test_logits_gradients_and_a_step(kind, size, channels, classes):
    net = network(kind, size, channels, classes)
    images, labels = batch(size, channels, classes)
    torch.manual_seed(1)  # dropout's
    logits = net(images)
    assert (logits.shape, logits.dtype) == ((6, classes), torch.float32)
    assert logits.isfinite().all()

    loss = cross_entropy(logits, labels)
    loss.backward()
    weights = trainable(net)
    assert [n for n, p in weights.items() if p.grad is None or not p.grad.any()] == []
    assert all(p.grad is None for n, p in net.named_parameters() if n not in weights)

    length = torch.stack([p.grad.norm() for p in weights.values()]).norm()
    with torch.no_grad():
        for parameter in weights.values():
            parameter -= 0.001 * parameter.grad / length
        torch.manual_seed(1)
        assert cross_entropy(net(images), labels) < loss


@every_kind
def test_a_rectangular_image(kind):
    torch.manual_seed(0)
    body = build_body(config(kind), (8, 17, 3), 5)
    assert body(torch.zeros(2, 3, 8, 17)).shape == (2, 5)


@every_kind
def test_the_seed_decides_the_weights(kind):
    init = {"init": "default"} if hasattr(config(kind), "init") else {}
    nets = [network(kind, seed=seed, **init) for seed in (0, 0, 1)]
    first, same, other = (net.state_dict() for net in nets)
    assert all(torch.equal(first[name], same[name]) for name in first)
    weights = [name for name, p in trainable(nets[0]).items() if p.ndim > 1]
    assert not any(torch.equal(first[name], other[name]) for name in weights)


@every_kind
def test_memory_format_changes_nothing(kind):
    net = network(kind, 16).eval()
    images, _ = batch(16)
    expected = net(images)
    four = [p for p in net.parameters() if p.ndim == 4]
    assert all(p.is_contiguous(memory_format=net.memory_format) for p in four)
    net.body.to(memory_format=torch.contiguous_format)
    pixels = (images.float() / 255 - net.mean) / net.std
    contiguous = net.body(pixels.permute(0, 3, 1, 2).contiguous())
    torch.testing.assert_close(contiguous, expected, rtol=1e-4, atol=1e-5)


@every_kind
def test_each_image_is_evaluated_independently(kind):
    net = network(kind).eval()
    images, _ = batch()
    single = torch.cat([net(image[None]) for image in images])
    torch.testing.assert_close(single, net(images), rtol=1e-4, atol=1e-5)


@every_kind
def test_evaluation_repeats_itself_and_survives_its_state(kind):
    net, other = network(kind), network(kind, seed=1)
    images, _ = batch()
    net(images)  # running statistics
    expected = net.eval()(images)
    assert torch.equal(net(images), expected)
    assert not torch.allclose(other.eval()(images), expected)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(images), expected)


@every_kind
def test_counting_parameters_allocates_and_draws_nothing(kind):
    before = torch.get_rng_state()
    counted = count_parameters(config(kind), (9, 9, 1), 7)
    assert torch.equal(torch.get_rng_state(), before)
    assert counted == sum(p.numel() for p in trainable(network(kind, 9, 1, 7)).values())
