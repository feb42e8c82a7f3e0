"""Plain convolutional networks: blocks of convolutions and pools, then dense layers.

The tutorial CNN of kth2022 and kth2024 and the classic CNN of asha2021 are two settings of it.
Padding is "same" everywhere, so that images of 8 pixels pass three pools.
"""

from collections import OrderedDict

from torch import Tensor, nn

from cifarlab.models.builder import Builder
from cifarlab.models.configs import CNN
from cifarlab.models.initialization import initialise_
from cifarlab.models.layers import Head


class ConvNet(nn.Module):
    """Blocks, flatten, hidden dense layers, dense; all convolutions and dense layers have a bias.

    550,570 parameters by default at (32, 32, 3) and K = 10.
    """

    def __init__(self, model: CNN, image_shape: tuple[int, int, int], classes: int) -> None:
        """Raises RecipeError where a pool would leave nothing of the map."""
        super().__init__()
        of_blocks, of_dense = model.dropouts
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        shape = image_shape
        for number, (channels, rate) in enumerate(zip(model.channels, of_blocks, strict=True), 1):
            layers = Builder(model, shape)
            for step in model.block:
                if step == "conv":
                    layers.conv(channels, model.kernel, bias=True)
                else:
                    layers.step(step, rate)
            blocks[f"block{number}"] = layers.taken()
            shape = layers.shape
        self.blocks = nn.Sequential(blocks)
        layers = Builder(model, shape)
        layers.flatten()
        for width, rate in zip(model.dense, of_dense, strict=True):
            for place in model.dense_order:
                if place == "dense":
                    layers.dense(width)
                else:
                    layers.step(place, rate)
        self.dense = layers.taken()
        self.head = Head(layers.channels, classes)
        initialise_(self, model.initialisation)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> logits (N, K)."""
        logits: Tensor = self.head(self.dense(self.blocks(x)))
        return logits
