"""A network cut into stages, from the input on: what can be frozen or looked at together."""

from itertools import takewhile

from torch import nn

from cifarlab.models.airbench_modules import AirbenchNet
from cifarlab.models.classifier import Classifier
from cifarlab.models.cnn_modules import ConvNet
from cifarlab.models.resnet_modules import ResNet


def stages(classifier: Classifier) -> list[list[nn.Parameter]]:
    """Return the parameters of each stage, in the order of the data; the linear layers are in none.

    What comes before the first stage belongs to it, a residual network's tail to the last. Residual
    networks: their stages; the airbench network: its groups; plain networks: their blocks.
    """
    body = classifier.body
    entrance: list[nn.Module] = []
    tail: list[nn.Parameter] = []
    if isinstance(body, ResNet):
        entrance, parts = [body.input_norm, body.whitening, body.stem], list(body.stages)
        tail = [*body.tail.parameters()]
    elif isinstance(body, AirbenchNet):
        entrance, parts = [body.whitening], list(body.groups)
    else:
        assert isinstance(body, ConvNet)
        parts = list(body.blocks)
    parameters = [[*part.parameters()] for part in parts]
    parameters[0][:0] = [p for module in entrance for p in module.parameters()]
    parameters[-1] += tail
    return parameters


def map_layers(classifier: Classifier) -> dict[str, nn.Module]:
    """Return the layers that put out the network's feature maps (N, C, H, W), in the order of the data.

    ``whitening`` where there is one; residual networks: ``stem``, ``stage1``, ...; the airbench
    network: ``group1``, ...; plain networks: ``block1``, ... A residual network's tail belongs to
    its last stage. A block that ends with a pool is seen before it, where its map is finer.
    """
    body = classifier.body
    layers: dict[str, nn.Module] = {}
    if isinstance(body, ConvNet):
        return {name: _before_the_pool(block) for name, block in body.blocks.named_children()}
    assert isinstance(body, ResNet | AirbenchNet)
    if not isinstance(body.whitening, nn.Identity):
        layers["whitening"] = body.whitening
    if isinstance(body, AirbenchNet):
        return layers | {f"group{n}": group for n, group in enumerate(body.groups, 1)}
    layers |= {"stem": body.stem, **dict(body.stages.named_children())}
    if len(body.tail):
        layers[next(reversed(layers))] = body.tail
    return layers


def _before_the_pool(block: nn.Module) -> nn.Module:
    """The last layer of a plain network's block but for dropout and a pool at its end."""
    layers = list(block.children())
    dropouts = list(takewhile(lambda layer: isinstance(layer, nn.Dropout), reversed(layers)))
    last = len(layers) - 1 - len(dropouts)
    if last > 0 and isinstance(layers[last], nn.MaxPool2d):
        last -= 1
    return layers[last]
