"""Settings of plain convolutional networks."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from cifarlab.config.base import refuse_idle
from cifarlab.models import configs

if TYPE_CHECKING:
    from torch import nn

BlockStep = Literal["conv", "norm", "act", "pool", "dropout"]
LinearStep = Literal["linear", "norm", "act", "dropout"]


class CNNConfig(configs.LayeredConfig):
    """Blocks of convolutions and pools, then linear layers. By default kth2024's tutorial CNN."""

    kind: Literal["cnn"] = "cnn"
    init: configs.Init = Field("kaiming_uniform", description=configs.INIT)
    linear_init: configs.LinearInit | None = Field(
        None, description="of the linear layers; null: as init"
    )
    head_init: configs.LinearInit | None = Field(
        None, description="of the last linear layer; null: as linear_init"
    )
    channels: configs.Widths = Field((32, 64, 128), min_length=1, description="channels per block")
    kernel_size: Literal[1, 3, 5, 7] = Field(3, description="side of the convolutions in pixels")
    padding: Literal["same", "valid"] = Field(
        "same", description="same: convolutions keep the map's size; valid: they are not padded"
    )
    block: tuple[BlockStep, ...] = Field(
        ("conv", "act", "conv", "act", "pool", "dropout"),
        description="the layers of a block; pool: the maximum of 2 x 2 pixels",
    )
    hidden_features: Annotated[configs.Widths, configs.OneOrMore] = Field(
        (128,), description="widths of the hidden linear layers"
    )
    linear_order: tuple[LinearStep, ...] = Field(
        ("linear", "act", "dropout"), description="a hidden linear layer and what goes with it"
    )
    dropout: configs.Dropouts = Field(
        (0.0,),
        min_length=1,
        description="probability of zeroing an activation where block and linear_order have "
        "dropout: one number, or one for each block and then one for all hidden linear layers or "
        "for each",
    )

    @property
    def dropouts(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The dropout of each block, and of each hidden linear layer."""
        blocks, hidden = len(self.channels), len(self.hidden_features)
        linear_dropout = self.dropout[blocks:] if len(self.dropout) > 1 else self.dropout
        return (
            configs.repeat_single(self.dropout, blocks)[:blocks],
            configs.repeat_single(linear_dropout, hidden),
        )

    @model_validator(mode="after")
    def _orders_fit(self) -> "CNNConfig":
        if "conv" not in self.block:
            raise ValueError("block needs a conv")
        if self.linear_order.count("linear") != 1:
            raise ValueError("linear_order needs 'linear' once")
        if not self.hidden_features:
            refuse_idle(self, ("linear_order",), "hidden_features")
        linear_order = self.linear_order if self.hidden_features else ()
        self._require_step_norm((*self.block, *linear_order), "block or linear_order")
        if self.norm.needs_map and "norm" in linear_order:
            raise ValueError(
                f"norm.kind {self.norm.kind} leaves nothing of a linear layer, whose channels are "
                "single values: take norm out of linear_order, or another kind"
            )
        return self

    @model_validator(mode="after")
    def _dropout_fits(self) -> "CNNConfig":
        blocks, hidden = len(self.channels), len(self.hidden_features)
        if len(self.dropout) not in (1, blocks + min(hidden, 1), blocks + hidden):
            raise ValueError(
                f"dropout can't be {len(self.dropout)} values: give one for all, or one for each "
                f"of the {blocks} blocks and then one for all {hidden} hidden linear layers or each"
            )
        if len(self.dropout) == 1:
            steps = (*self.block, *(self.linear_order if hidden else ()))
            self._require_step_dropout(self.dropout, steps)
        else:
            block_dropouts, linear_dropouts = self.dropouts
            self._require_step_dropout(block_dropouts, self.block)
            self._require_step_dropout(linear_dropouts, self.linear_order)
        return self

    def _steps(self) -> list[tuple[str, float]]:
        blocks, hidden = self.dropouts
        steps: list[tuple[str, float]] = [(step, p) for p in blocks for step in self.block]
        return steps + [(step, p) for p in hidden for step in self.linear_order]

    def build(self, image_shape: configs.Shape, classes: int) -> "nn.Module":
        """Build the network.

        Raises:
            RecipeError: where a pool would leave nothing of the map
        """
        from cifarlab.models.cnn_modules import ConvNet

        return ConvNet(self, image_shape, classes)
