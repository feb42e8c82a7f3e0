"""A network cut into stages, from the input on: what can be frozen or looked at together."""

from itertools import pairwise

from torch import nn

from cifarlab.models.classifier import Classifier
from cifarlab.models.residual import ResidualNet
from cifarlab.models.speed import SpeedNet


def stages(classifier: Classifier) -> list[list[nn.Parameter]]:
    """The parameters of each stage, in the order of the data; the dense layers are in none.

    A whitening layer and a stem belong to the first stage. Residual networks: their stages; the
    speed network: its groups; plain networks: what lies between two max-pools.
    """
    body = classifier.body
    if isinstance(body, ResidualNet):
        entrance, parts = [body.whitening, body.stem], list(body.stages)
    elif isinstance(body, SpeedNet):
        entrance, parts = [body.whitening], list(body.groups)
    else:
        assert isinstance(body, nn.Sequential)
        layers = list(body)
        pools = [n + 1 for n, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
        entrance = []
        parts = [nn.Sequential(*layers[a:b]) for a, b in pairwise([0, *pools])]
    first = [p for module in entrance for p in module.parameters()]
    first_stage, *others = ([*part.parameters()] for part in parts)
    return [first + first_stage, *others]
