"""The recipe's network: what all kinds share."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from cifarlab.config.base import Config, Fraction, PositiveFloat, Width, refuse_idle
from cifarlab.config.family import Family
from cifarlab.models.norm_configs import BatchNormConfig, Norm

if TYPE_CHECKING:
    from torch import nn

_Entry = TypeVar("_Entry")
Shape = tuple[int, int, int]  # (H, W, C)
Activation = Annotated[
    Literal["relu", "relu6", "leaky_relu", "prelu", "elu", "silu", "gelu", "sigmoid"],
    Field(description="non-linearity everywhere in the network"),
]
Init = Literal[
    "default", "dirac", "kaiming_normal", "kaiming_uniform", "xavier_uniform", "orthogonal"
]
LinearInit = Literal["kaiming_normal", "kaiming_uniform", "xavier_uniform", "orthogonal"]
INIT = (
    "default: the network's own; dirac: over that, a convolution's first filters pass their input "
    "through unchanged (airbench, section 3.2); kaiming_normal: normal by fan-in (He et al. 2015), "
    "kaiming_uniform: the same, uniform; xavier_uniform: Glorot & Bengio 2010; orthogonal: Saxe et "
    "al. 2014"
)


def _as_tuple(entries: Any) -> Any:
    return (entries,) if isinstance(entries, int | float) else entries


OneOrMore = BeforeValidator(_as_tuple)  # a single number is a list of one entry
Dropouts = Annotated[tuple[Fraction, ...], OneOrMore]
Widths = tuple[Width, ...]


def repeat_single(entries: tuple[_Entry, ...], count: int) -> tuple[_Entry, ...]:
    """Return ``count`` times a single entry, and several as they are."""
    return entries * count if len(entries) == 1 else entries


class WhiteningConfig(Config):
    """A fixed first layer that decorrelates small patches (airbench, section 3.1)."""

    kernel_size: int = Field(
        0, ge=0, le=5, description="side of the patches in pixels; 0: no such layer"
    )
    eps: PositiveFloat = Field(
        5e-4, description="added to the patches' variances before they are divided by"
    )
    images: int = Field(5000, ge=1, description="training images whose patches decide the filters")
    n_components: int | None = Field(
        None,
        ge=1,
        description="at most so many principal directions of the patches, the strongest, each with "
        "its negative; null: all",
    )

    @model_validator(mode="after")
    def _nothing_idle(self) -> "WhiteningConfig":
        if not self.kernel_size:
            refuse_idle(self, ("eps", "images", "n_components"), "a kernel_size above 0")
        return self


class ModelConfig(Family):
    """A network: a kind adds its settings and ``build``.

    What tools ask of the module that is built stands in models/network.py.
    """

    max_parameters: int | None = Field(
        None, ge=1, description="a network with more trained parameters is refused; null: any"
    )
    any_image_size: ClassVar[bool] = False  # whether one network takes images of any size

    @abstractmethod
    def build(self, image_shape: Shape, classes: int) -> "nn.Module":
        """Build the network (N, C, H, W) -> (N, K), initialized from torch's global generator.

        Args:
            image_shape: (H, W, C) of an image
            classes: K, the number of classes
        """

    def dropout_before_norm(self) -> float | None:
        """Return the first dropout that running statistics come behind, for the linter."""
        return None


class LayeredConfig(ModelConfig):
    """What networks share that are made of convolutions, normalizations and activations."""

    activation: Activation = "relu"
    init: Init = Field("default", description=INIT)
    norm: Norm = BatchNormConfig()

    def dropout_before_norm(self) -> float | None:
        """Return the first dropout that batch normalization comes behind."""
        steps = self._steps() if self.norm.running_statistics else []
        norms = [index for index, (step, _) in enumerate(steps) if step == "norm"]
        before = steps[: norms[-1]] if norms else []
        return next((p for step, p in before if step == "dropout" and p), None)

    def _steps(self) -> list[tuple[str, float]]:
        """Return the layers in the order of the data, each with the dropout there."""
        return []

    def _require_step_norm(self, steps: Sequence[str], names: str) -> None:
        """Refuse settings of a normalisation that no layer uses. Raises ValueError."""
        default = type(self).model_fields["norm"].default
        if "norm" not in steps and self.norm.normalizes and self.norm != default:
            raise ValueError(
                f"norm is set, but no layer uses it: put 'norm' into {names}, or leave norm out"
            )

    def _require_step_dropout(self, dropouts: Sequence[float], steps: Sequence[str]) -> None:
        """Refuse a dropout that no layer uses. Raises ValueError."""
        if any(dropouts) and "dropout" not in steps:
            raise ValueError(
                f"dropout is {max(dropouts):g}, but no layer uses it: put 'dropout' into the "
                "order, or leave it at 0"
            )


Model = SerializeAsAny[ModelConfig]
