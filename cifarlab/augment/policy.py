"""RandAugment (Cubuk et al. 2020) and TrivialAugment, wide (Müller & Hutter 2021), by the batch.

Which operation an image gets is drawn on the CPU, so the groups of images that share one are known
there: each operation runs once on its group, and nothing waits for the device.
"""

import torch
from torch import Tensor

from cifarlab.augment.batch_shard import Part
from cifarlab.augment.config import LEVELS, NoPolicy, Policy, RandAugment
from cifarlab.augment.operations import OPERATIONS, as_bytes
from cifarlab.system.randomness import generator
from cifarlab.system.transfer import sent


def operated(
    policy: Policy,
    fill: str,
    images: Tensor,
    seed: int,
    epoch: int,
    step: int,
    part: Part | None = None,
) -> Tensor:
    """The recipe's policy on a batch (N, H, W, C): uint8, of uint8 or float, which is rounded.

    Without a policy the images as they are. ``part`` says which of the batch they are, None: all.
    """
    if isinstance(policy, NoPolicy):
        return images
    images = as_bytes(images)
    part = part or Part(len(images))
    for chosen, strengths in drawn(policy, part.whole, seed, epoch, step):
        images = one_each(images, part.of(chosen), part.of(strengths), fill)
    return images


def drawn(
    policy: Policy, count: int, seed: int, epoch: int, step: int
) -> list[tuple[Tensor, Tensor]]:
    """For each round each image's operation, int64 (N,), and strength, float32 (N,), on the CPU.

    All operations are as likely, also one that the image had before. A strength is a share of the
    operation's largest, in ``LEVELS`` levels: the recipe's, or any of TrivialAugment's.
    """
    draws = generator(seed, "policy", epoch, step)
    fixed = isinstance(policy, RandAugment)
    reaches = torch.tensor([op.usual if fixed else op.wide for op in OPERATIONS])
    signed = torch.tensor([op.signed for op in OPERATIONS])
    rounds = []
    for _ in range(policy.num_ops if isinstance(policy, RandAugment) else 1):
        chosen = torch.randint(0, len(OPERATIONS), (count,), generator=draws)
        levels = torch.randint(0, LEVELS + 1, (count,), generator=draws)
        if isinstance(policy, RandAugment):
            levels = torch.full((count,), policy.magnitude)
        signs = torch.randint(0, 2, (count,), generator=draws) * 2 - 1
        signs = torch.where(signed[chosen], signs, 1)
        rounds.append((chosen, signs * reaches[chosen] * levels / LEVELS))
    return rounds


def one_each(images: Tensor, chosen: Tensor, strengths: Tensor, fill: str) -> Tensor:
    """Change each image by its own operation, the one of that place in ``OPERATIONS``.

    ``chosen`` int64 (N,) and ``strengths`` float32 (N,) are on the CPU.
    """
    order = chosen.argsort(stable=True)
    sizes = chosen.bincount(minlength=len(OPERATIONS)).tolist()
    places, sorted_strengths = sent(order, images.device), sent(strengths[order], images.device)
    groups = zip(
        OPERATIONS, images[places].split(sizes), sorted_strengths.split(sizes), strict=True
    )
    changed = [op.change(group, by, fill) for op, group, by in groups if len(group)]
    out = torch.empty_like(images)
    out[places] = torch.cat(changed)
    return out
