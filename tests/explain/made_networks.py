"""A small predictor of each kind of network, with running statistics of its own."""

import numpy as np
import torch

from cifarlab.inference.predictor import Predictor
from cifarlab.models.airbench import AirbenchConfig
from cifarlab.models.build import build_body
from cifarlab.models.classifier import Classifier
from cifarlab.models.cnn import CNNConfig
from cifarlab.models.resnet import ResNetConfig
from cifarlab.system.device import choose_compute

SMALL = {"stem_width": 4, "depths": (1, 2), "channels": (4, 6), "strides": (1, 2)}
MODELS = {
    "resnet": ResNetConfig(**SMALL),
    "pre-activation": ResNetConfig(
        **SMALL, order=("norm", "act", "conv", "norm", "act", "conv", "add"), activation="elu"
    ),
    "bottleneck": ResNetConfig(**SMALL, block="bottleneck", activation="silu"),
    "normalizer-free": ResNetConfig(
        **SMALL,
        norm={"kind": "none"},
        weight_standardization=True,
        order=("act", "conv", "act", "conv", "add"),
    ),
    "whitened": ResNetConfig(**SMALL, whitening={"kernel_size": 2}, norm={"kind": "layer"}),
    "cnn": CNNConfig(channels=(4, 6), hidden_features=(8,)),
    "pool-first": CNNConfig(
        channels=(4, 6),
        hidden_features=(),
        block=("conv", "pool", "norm", "act"),
        activation="leaky_relu",
    ),
    "airbench": AirbenchConfig(channels=(4, 6), shortcut=True),
    "airbench-relu": AirbenchConfig(channels=(4, 6), activation="relu6", norm={"kind": "none"}),
}
CLASSES = ("x", "y", "z")
COLOR, GREY = (12, 11, 3), (12, 11, 1)  # not square, so that mixed-up axes show


def make_predictor(kind: str, shape=COLOR, precision: str = "float32") -> Predictor:
    torch.manual_seed(1)
    channels = shape[2]
    body = build_body(MODELS[kind], shape, len(CLASSES))
    classifier = Classifier(body, [0.4, 0.5, 0.6][:channels], [0.2, 0.3, 0.1][:channels])
    classifier.fit_whitening(images(8, shape))
    with torch.no_grad():
        for name, buffer in body.named_buffers():
            if "running_var" in name:
                buffer.uniform_(0.5, 1.5)
            elif "running_mean" in name:
                buffer.uniform_(-0.3, 0.3)
        for name, parameter in body.named_parameters():
            if name.endswith("gain") and parameter.ndim == 0:
                parameter.fill_(0.5)  # at its start of 0 nothing of a block would pass
    return Predictor(classifier, CLASSES, shape, choose_compute(precision))


def images(n: int, shape=COLOR, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def count_hooks(classifier: torch.nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(m, kind)) for m in classifier.modules() for kind in kinds)
