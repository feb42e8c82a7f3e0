"""Plain convolutional networks: blocks of convolutions and pools, then linear layers.

The tutorial CNN of kth2022 and kth2024 and the classic CNN of asha2021 are two settings of it.
Padding is "same" everywhere, so that images of 8 pixels pass three pools.
"""

from collections import OrderedDict
from itertools import takewhile
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cifarlab.models.builder import Builder
from cifarlab.models.initialization import initialize_
from cifarlab.models.layers import Head
from cifarlab.models.outline import Outline, module_block

if TYPE_CHECKING:
    from cifarlab.models.cnn import CNNConfig


class ConvNet(nn.Module):
    """Blocks, flatten, hidden linear layers, head; all convolutions and linear layers have a bias.

    550,570 parameters by default at (32, 32, 3) and K = 10.
    """

    memory_format = torch.channels_last

    def __init__(self, model: "CNNConfig", image_shape: tuple[int, int, int], classes: int) -> None:
        """Raises RecipeError where a pool would leave nothing of the map."""
        super().__init__()
        of_blocks, of_linear = model.dropouts
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        shape = image_shape
        for number, (channels, dropout) in enumerate(
            zip(model.channels, of_blocks, strict=True), 1
        ):
            layers = Builder(model, shape)
            for step in model.block:
                if step == "conv":
                    layers.conv(channels, model.kernel_size, bias=True)
                else:
                    layers.step(step, dropout)
            blocks[f"block{number}"] = layers.pop_layers()
            shape = layers.shape
        self.blocks = nn.Sequential(blocks)
        layers = Builder(model, shape)
        layers.flatten()
        for width, dropout in zip(model.hidden_features, of_linear, strict=True):
            for linear_step in model.linear_order:
                if linear_step == "linear":
                    layers.linear(width)
                else:
                    layers.step(linear_step, dropout)
        self.hidden = layers.pop_layers()
        self.head = Head(layers.channels, classes)
        initialize_(self, model.init)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> logits (N, K)."""
        logits: Tensor = self.head(self.hidden(self.blocks(x)))
        return logits

    def stage_modules(self) -> list[list[nn.Module]]:
        """Return the blocks; the linear layers are in none."""
        return [[block] for block in self.blocks]

    def map_layers(self) -> dict[str, nn.Module]:
        """Return what each block puts out before a pool at its end, where its map is finer."""
        return {name: _before_the_pool(block) for name, block in self.blocks.named_children()}

    def outline(self) -> Outline:
        """Return the blocks, and the linear layers together."""
        blocks = {name: [module_block(block)] for name, block in self.blocks.named_children()}
        return {**blocks, "head": [module_block(self.hidden, self.head)]}


def _before_the_pool(block: nn.Module) -> nn.Module:
    """The last layer of a block but for dropout and a pool at its end."""
    layers = list(block.children())
    dropouts = list(takewhile(lambda layer: isinstance(layer, nn.Dropout), reversed(layers)))
    last = len(layers) - 1 - len(dropouts)
    if last > 0 and isinstance(layers[last], nn.MaxPool2d):
        last -= 1
    return layers[last]
