"""Plain convolutional networks: blocks of convolutions and pools, then linear layers.

The tutorial CNN of kth2022 and kth2024 and the classic CNN of asha2021 are two settings of it.
Padding is "same" unless the recipe says otherwise, so that images of 8 pixels pass three pools.
"""

from collections import OrderedDict
from itertools import repeat
from typing import TYPE_CHECKING

from torch import Tensor, nn

from cifarlab.models.builder import Builder
from cifarlab.models.configs import Shape
from cifarlab.models.initialization import initialize_
from cifarlab.models.layers import Head
from cifarlab.models.outline import outline_block
from cifarlab.models.staged import Parts, StagedNetwork

if TYPE_CHECKING:
    from cifarlab.models.cnn import CNNConfig


class ConvNet(StagedNetwork):
    """Blocks, flatten, hidden linear layers, head; all convolutions and linear layers have a bias.

    550,570 parameters by default at (32, 32, 3) and K = 10.
    """

    def __init__(self, model: "CNNConfig", image_shape: Shape, classes: int) -> None:
        super().__init__()
        block_dropouts, linear_dropouts = model.dropouts
        blocks, shape = OrderedDict[str, nn.Module](), image_shape
        for channels, dropout in zip(model.channels, block_dropouts, strict=True):
            layers = Builder(model, shape, bias=True, padded=model.padding == "same")
            convs = repeat((channels, model.kernel_size, 1))
            block = layers.build(model.block, convs, dropout)
            blocks[f"block{len(blocks) + 1}"] = nn.Sequential(block)
            shape = layers.shape
        self.blocks = nn.Sequential(blocks)
        layers = Builder(model, shape)
        hidden = layers.build(["flatten"])
        for width, dropout in zip(model.hidden_features, linear_dropouts, strict=True):
            hidden |= layers.build(model.linear_order, [(width,)], dropout)
        self.hidden = nn.Sequential(hidden)
        self.head = Head(layers.channels, classes)
        initialize_(self, model.init)
        initialize_(self.hidden, model.linear_init or "default")
        initialize_(self.head, model.head_init or model.linear_init or "default")

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, K) of images (N, C, H, W)."""
        logits: Tensor = self.head(self.hidden(self.blocks(x)))
        return logits

    def parts(self) -> Parts:
        """Return the blocks, and the linear layers together."""
        blocks = dict(self.blocks.named_children())
        return Parts({}, blocks, nn.Sequential(), outline_block(self.hidden, self.head))
