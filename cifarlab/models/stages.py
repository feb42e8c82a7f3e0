"""A network cut into stages, from the input on: what can be frozen or looked at together."""

from torch import nn

from cifarlab.models.classifier import Classifier
from cifarlab.models.convnet import ConvNet
from cifarlab.models.residual import ResidualNet
from cifarlab.models.speed import SpeedNet


def stages(classifier: Classifier) -> list[list[nn.Parameter]]:
    """The parameters of each stage, in the order of the data; the dense layers are in none.

    What comes before the first stage belongs to it, a residual network's tail to the last. Residual
    networks: their stages; the speed network: its groups; plain networks: their blocks.
    """
    body = classifier.body
    entrance: list[nn.Module] = []
    tail: list[nn.Parameter] = []
    if isinstance(body, ResidualNet):
        entrance, parts = [body.input_norm, body.whitening, body.stem], list(body.stages)
        tail = [*body.tail.parameters()]
    elif isinstance(body, SpeedNet):
        entrance, parts = [body.whitening], list(body.groups)
    else:
        assert isinstance(body, ConvNet)
        parts = list(body.blocks)
    found = [[*part.parameters()] for part in parts]
    found[0][:0] = [p for module in entrance for p in module.parameters()]
    found[-1] += tail
    return found
