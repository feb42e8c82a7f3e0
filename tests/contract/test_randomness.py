"""What decides a draw: a seed that is the same everywhere, of which torch keeps 32 bits."""

import torch

from cifarlab.system.randomness import derived_seed, generator


def draws(source: torch.Generator) -> list[float]:
    return torch.rand(4, generator=source).tolist()


def test_a_seed_is_the_same_everywhere() -> None:
    assert derived_seed(7, "order", 3) == 929583480629082613


def test_the_lower_32_bits_of_a_seed_decide_its_draws() -> None:
    seed = derived_seed(7, "order", 3)
    assert seed >= 2**32
    kept = torch.Generator().manual_seed(seed % 2**32)
    assert draws(kept) == draws(generator(7, "order", 3))
    other = torch.Generator().manual_seed((seed + 1) % 2**32)
    assert draws(other) != draws(generator(7, "order", 3))
