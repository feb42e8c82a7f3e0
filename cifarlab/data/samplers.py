"""Samplers choose the training images of an epoch, and their order, from (seed, epoch) alone.

An epoch has as many images as the training part.
"""

import csv
import hashlib
import io
import math
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, SerializeAsAny

from cifarlab.config.family import Family
from cifarlab.data.dataset import Subset
from cifarlab.system.errors import RecipeError
from cifarlab.system.files import damage_errors, read_bytes, write_bytes

if TYPE_CHECKING:
    from torch import Generator, Tensor

# an epoch's generator to positions in the training part, int64 (n,)
EpochOrder: TypeAlias = "Callable[[Generator], Tensor]"


class SamplerConfig(Family):
    """Which training images an epoch shows."""

    def relocate(self, folder: Path) -> Self:
        """Return the sampler that a recipe in ``folder`` means by this one; here itself."""
        return self

    def store(self, folder: Path) -> Self:
        """Return the sampler for the recipe in a run's ``folder``, with copies of its files there.

        Raises:
            RecipeError: a file can't be read
            StorageError: it can't be written
        """
        return self

    @abstractmethod
    def build(self, training: Subset) -> EpochOrder:
        """Return a function from an epoch's generator to positions in ``training``, int64 (n,).

        Raises:
            RecipeError: the settings don't fit these images
        """


class UniformSampler(SamplerConfig):
    """Every image once, in a new order each epoch."""

    kind: Literal["uniform"] = "uniform"

    def build(self, training: Subset) -> EpochOrder:
        """Return a permutation for each epoch."""
        import torch

        return lambda generator: torch.randperm(len(training), generator=generator)


class BalancedSampler(SamplerConfig):
    """Every class equally often; no image twice before all others of its class."""

    kind: Literal["balanced"] = "balanced"

    def build(self, training: Subset) -> EpochOrder:
        """Return an order in which the numbers of two classes differ by one at most."""
        import torch

        n, labels = len(training), torch.from_numpy(training.labels[training.indices])
        classes = [(labels == label).nonzero().flatten() for label in labels.unique()]

        def order(generator: "Generator") -> "Tensor":
            # which classes get one of the images that the division leaves over
            ranks = torch.randperm(len(classes), generator=generator).tolist()
            positions = []
            for members, rank in zip(classes, ranks, strict=True):
                count = n // len(classes) + (rank < n % len(classes))
                rounds = [
                    members[torch.randperm(len(members), generator=generator)]
                    for _ in range(math.ceil(count / len(members)))
                ]
                positions.append(torch.cat([*rounds, members[:0]])[:count])
            return torch.cat(positions)[torch.randperm(n, generator=generator)]

        return order


class WeightsSampler(SamplerConfig):
    """Each image drawn, with replacement, with a probability in proportion to its weight."""

    decides_nothing: ClassVar[frozenset[str]] = frozenset({"file"})  # its content does
    kind: Literal["weights"] = "weights"
    file: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="a CSV file with a line 'path,weight' and one for each named image; an image "
        "that is not named has weight 1",
    )
    sha256: str | None = Field(
        None,
        max_length=64,
        description="of the file, which is another's weights once it is changed; null: as it is",
    )

    def relocate(self, folder: Path) -> Self:
        """Return the sampler of the file that a recipe in ``folder`` means, with its hash."""
        if self.file is None:
            return self.model_copy(update={"sha256": None})
        sampler = self.model_copy(update={"file": str((folder / self.file).absolute())})
        sha256 = self.sha256 or hashlib.sha256(sampler._content()).hexdigest()
        return sampler.model_copy(update={"sha256": sha256})

    def store(self, folder: Path) -> Self:
        """Copy the file to ``folder``, and return the sampler of the copy."""
        content = self._content()
        sha256 = hashlib.sha256(content).hexdigest()
        name = f"weights-{sha256[:12]}.csv"
        write_bytes(folder / name, content)
        return self.model_copy(update={"file": name, "sha256": sha256})

    def build(self, training: Subset) -> EpochOrder:
        """Return draws, with replacement, by the file's weights."""
        import torch

        weights = torch.tensor(self._weights(training), dtype=torch.float64)
        edges = weights.cumsum(0)
        last = int(weights.nonzero()[-1])

        def order(generator: "Generator") -> "Tensor":
            draws = torch.rand(len(weights), dtype=torch.float64, generator=generator) * edges[-1]
            return torch.searchsorted(edges, draws, right=True).clamp_(max=last)

        return order

    def _weights(self, training: Subset) -> list[float]:
        """Return the weight of each image of the training part. Raises RecipeError."""
        weight_of = self._read()
        names = [training.names[index] for index in range(len(training.labels))]
        if unknown_names := weight_of.keys() - set(names):
            raise RecipeError(
                f"{self.file}: no training image is called {min(unknown_names)!r} "
                f"({len(unknown_names)} of its {len(weight_of)} names are unknown)",
                f"names are as reports have them, e.g. {names[0]!r}",
            )
        weights = [weight_of.get(names[index], 1.0) for index in training.indices]
        if len(set(weights)) == 1:
            what = f"{self.file} gives every image that is trained on the weight {weights[0]:g}"
            raise RecipeError(what, "name some with another one, or leave data.sampler out")
        return weights

    def _content(self) -> bytes:
        """Return the file's content, if it has the recipe's hash. Raises RecipeError."""
        if self.file is None:
            raise RecipeError("data.sampler.file is null", "name a CSV file of path,weight")
        with damage_errors(f"data.sampler: can't read {self.file}", "bring it back", RecipeError):
            content = read_bytes(Path(self.file))
        if self.sha256 not in (None, hashlib.sha256(content).hexdigest()):
            what = f"data.sampler: {self.file} is not the file that the recipe was made with"
            raise RecipeError(what, "bring that back, or take this with data.sampler.sha256=null")
        return content

    def _read(self) -> dict[str, float]:
        """Return the file's weights by image name. Raises RecipeError."""
        weights: dict[str, float] = {}
        rows = csv.reader(io.StringIO(self._content().decode("utf-8", errors="replace")))
        if next(rows, None) != ["path", "weight"]:
            raise RecipeError(f"{self.file} does not begin with a line path,weight", "add it")
        for row in filter(None, rows):
            try:
                name, weight = row[0], float(row[1])
                is_sound = len(row) == 2 and 0 <= weight < math.inf and name not in weights
            except (IndexError, ValueError):
                is_sound = False
            if not is_sound:
                what = f"{','.join(row):.80} is no new image with a weight from 0 on"
                hint = "write path,weight once for each image"
                raise RecipeError(f"{self.file}, line {rows.line_num}: {what}", hint)
            weights[name] = weight
        return weights


Sampler = SerializeAsAny[SamplerConfig]
