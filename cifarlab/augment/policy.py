"""RandAugment (Cubuk et al. 2020) and TrivialAugment, wide (Müller & Hutter 2021).

Operations are drawn on the CPU, so that the groups of images with the same operation are known
there: each operation runs once on its group, and nothing waits for the device.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field, SerializeAsAny

from cifarlab.config.family import Family

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from cifarlab.augment.operations import Operation

LEVELS = 30  # magnitudes of the policies go from 0 to this


class PolicyConfig(Family):
    """A policy: operations that are drawn for each image.

    A kind lists them; by default each image gets one, of a random strength.
    """

    @property
    def rounds(self) -> int:
        """Return the number of operations that each image gets, one after another."""
        return 1

    @property
    def level(self) -> int | None:
        """Return the strength of all operations, 0..LEVELS; None where drawn for each image."""
        return None

    @abstractmethod
    def operations(self) -> "Sequence[Operation]":
        """Return the operations that are drawn from."""

    def max_strength(self, operation: "Operation") -> float:
        """Return the largest strength of an operation."""
        return operation.max_strength

    def sample(self, count: int, generator: "torch.Generator") -> "list[tuple[Tensor, Tensor]]":
        """Sample operations, int64 (N,), and strengths, float32 (N,), on the CPU, for each round.

        All operations are equally likely, also one that the image had in an earlier round. A
        strength is a fraction of the operation's largest, in ``LEVELS`` levels.
        """
        import torch

        operations = self.operations()
        max_strengths = torch.tensor([float(self.max_strength(op)) for op in operations])
        is_signed = torch.tensor([op.is_signed for op in operations])
        rounds = []
        for _ in range(self.rounds):
            op_indices = torch.randint(0, len(operations), (count,), generator=generator)
            levels = torch.randint(0, LEVELS + 1, (count,), generator=generator)
            if self.level is not None:
                levels = torch.full((count,), self.level)
            signs = torch.randint(0, 2, (count,), generator=generator) * 2 - 1
            signs = torch.where(is_signed[op_indices], signs, 1)
            rounds.append((op_indices, signs * max_strengths[op_indices] * levels / LEVELS))
        return rounds


class PaperPolicy(PolicyConfig):
    """A policy with the operations of both papers."""

    kind: str

    def operations(self) -> "Sequence[Operation]":
        """Return the papers' fourteen operations."""
        from cifarlab.augment.operations import OPERATIONS

        return OPERATIONS


class NoPolicy(PaperPolicy):
    """No operations of a policy."""

    kind: Literal["none"] = "none"

    @property
    def rounds(self) -> int:
        """Return 0."""
        return 0


class RandAugment(PaperPolicy):
    """Operations drawn for each image, all of one magnitude (Cubuk et al. 2020)."""

    kind: Literal["randaugment"] = "randaugment"
    num_ops: int = Field(2, ge=1, le=14, description="operations per image, one after another")
    magnitude: int = Field(9, ge=0, le=LEVELS, description=f"strength, of {LEVELS} levels")

    @property
    def rounds(self) -> int:
        """Return the recipe's ``num_ops``."""
        return self.num_ops

    @property
    def level(self) -> int:
        """Return the recipe's ``magnitude``."""
        return self.magnitude


class TrivialAugment(PaperPolicy):
    """One operation per image, of a random strength in a wide range (Müller & Hutter 2021)."""

    kind: Literal["trivialaugment"] = "trivialaugment"

    def max_strength(self, operation: "Operation") -> float:
        """Return an operation's largest strength in the wide range."""
        return operation.wide_max_strength


Policy = SerializeAsAny[PolicyConfig]
