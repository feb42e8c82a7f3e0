"""The fifteen common corruptions of Hendrycks & Dietterich 2019 (arXiv:1903.12261), by the batch.

Kinds, severities and parameters are those of their CIFAR-10-C; lengths in pixels are meant for
images of 32 x 32. Written anew, on whole batches on the images' device. Departures:

- frost comes from a procedural texture, since their photographs are not ours to carry;
- glass blur exchanges neighbouring pixels, where theirs copies one over the other;
- motion blur leaves out taps that weigh less than a fortieth of a grey level;
- values are rounded to 8 bits once, at the end, where theirs are cut off, and layers of snow and
  blurred glass are not rounded in between.

So accuracies are close to those on CIFAR-10-C but not the same: compare them only with accuracies
on these images.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor

from cifarlab.evaluation.corruptions import blur, digital, noise, weather
from cifarlab.evaluation.corruptions.draws import Draws

SEVERITIES = (1, 2, 3, 4, 5)
_FAMILIES = {"noise": noise, "blur": blur, "weather": weather, "digital": digital}
_TABLE = Path(__file__).parent.with_name("severities.yaml")


class Corruption(NamedTuple):
    """One kind: a function, and the values of its parameters by severity."""

    family: str
    function: Callable[..., Tensor]
    levels: Mapping[str, Sequence[Any]]

    def apply(self, images: Tensor, draws: Draws, severity: int) -> Tensor:
        """Return changed images, whose values may lie outside 0..1.

        Args:
            images: float32 (N, H, W, C), 0..1
            draws: the batch's random numbers
            severity: 1 to 5
        """
        parameters = {name: values[severity - 1] for name, values in self.levels.items()}
        return self.function(images, draws, **parameters)


CORRUPTIONS = {
    name: Corruption(family, getattr(_FAMILIES[family], name.replace(" ", "_")), levels)
    for family, kinds in yaml.safe_load(_TABLE.read_text(encoding="utf-8")).items()
    for name, levels in kinds.items()
}


def corrupt(images: Tensor, name: str, severity: int, generator: torch.Generator) -> Tensor:
    """Return corrupted copies of images, on the images' device.

    Args:
        images: uint8 (N, H, W, C)
        name: a key of ``CORRUPTIONS``
        severity: 1 to 5
        generator: of the CPU
    """
    draws = Draws(generator, images.device)
    values = CORRUPTIONS[name].apply(images.to(torch.float32) / 255, draws, severity)
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)
