"""A plug-in file as a user writes one: augmentations, a policy and a mix."""

from typing import Literal

import torch
from pydantic import Field

from cifarlab.augment.kinds import AugmentationConfig
from cifarlab.augment.mixing import MixConfig
from cifarlab.augment.operations import Operation
from cifarlab.augment.policy import PolicyConfig
from cifarlab.system.randomness import generator


class Dim(AugmentationConfig):
    """Each image darker, by a factor of its own."""

    kind: Literal["made-dim"] = "made-dim"
    least: float = Field(0.5, ge=0, le=1, description="the smallest factor")

    def apply(self, images, draws):
        factors = self.least + (1 - self.least) * draws.uniform()
        return images.float() * factors[:, None, None, None]


class Broken(AugmentationConfig):
    """Images of another size."""

    kind: Literal["made-broken"] = "made-broken"

    def apply(self, images, draws):
        return images[:, 1:]


class Forgetful(AugmentationConfig):
    """It returns nothing."""

    kind: Literal["made-forgetful"] = "made-forgetful"

    def apply(self, images, draws):
        images.flip(1)


class Failing(AugmentationConfig):
    """A mistake in its code."""

    kind: Literal["made-failing"] = "made-failing"

    def apply(self, images, draws):
        return images @ images.float()


class FailingPolicy(PolicyConfig):
    """An operation that fails."""

    kind: Literal["made-failing-policy"] = "made-failing-policy"

    def operations(self):
        def fail(images, strengths, fill_mode):
            raise ValueError("an operation fails")

        return (Operation("fail", fail, 1, 1, False),)


class FailingMix(MixConfig):
    """A mistake in its code."""

    kind: Literal["made-failing-mix"] = "made-failing-mix"

    def mix(self, images, seed, epoch, step):
        return images, 1 / 0, 1.0


class Inversions(PolicyConfig):
    """Images are inverted, or stay as they are."""

    kind: Literal["made-inversions"] = "made-inversions"

    def operations(self):
        def invert(images, strengths, fill_mode):
            return 255 - images

        return Operation("invert", invert, 1, 1, False), Operation(
            "stay", lambda images, *_: images, 0, 0, False
        )


class Halves(MixConfig):
    """The lower half of another image."""

    kind: Literal["made-halves"] = "made-halves"

    def mix(self, images, seed, epoch, step):
        draws = generator(seed, "mix made-halves", epoch, step)
        partners = torch.randperm(len(images), generator=draws).to(images.device)
        out, middle = images.clone(), images.shape[1] // 2
        out[:, middle:] = images[partners, middle:]
        return out, partners, middle / images.shape[1]
