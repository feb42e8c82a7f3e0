"""RandAugment (Cubuk et al. 2020) and TrivialAugment, wide (Müller & Hutter 2021), by the batch.

Which operation an image gets is drawn on the CPU, so the groups of images that share one are known
there: each operation runs once on its group, and nothing waits for the device.
"""

import torch
from torch import Tensor

from cifarlab.augment.batch_shard import BatchShard
from cifarlab.augment.config import LEVELS, NoPolicy, Policy, RandAugment
from cifarlab.augment.operations import OPERATIONS, to_uint8
from cifarlab.system.randomness import generator
from cifarlab.system.transfer import sent


def apply_policy(
    policy: Policy,
    fill_mode: str,
    images: Tensor,
    seed: int,
    epoch: int,
    step: int,
    shard: BatchShard | None = None,
) -> Tensor:
    """Apply the recipe's policy to a batch (N, H, W, C): uint8, of uint8 or rounded float.

    Without a policy return the images as they are. ``shard`` says which of the batch they are,
    None: all.
    """
    if isinstance(policy, NoPolicy):
        return images
    images = to_uint8(images)
    shard = shard or BatchShard(len(images))
    for op_indices, strengths in sample_operations(policy, shard.global_size, seed, epoch, step):
        images = apply_operations(
            images, shard.select(op_indices), shard.select(strengths), fill_mode
        )
    return images


def sample_operations(
    policy: Policy, count: int, seed: int, epoch: int, step: int
) -> list[tuple[Tensor, Tensor]]:
    """Sample for each round operations, int64 (N,), and strengths, float32 (N,), on the CPU.

    All operations are as likely, also one that the image had before. A strength is a fraction of
    the operation's largest, in ``LEVELS`` levels: the recipe's, or any of TrivialAugment's.
    """
    draws = generator(seed, "policy", epoch, step)
    fixed = isinstance(policy, RandAugment)
    max_strengths = torch.tensor(
        [op.max_strength if fixed else op.wide_max_strength for op in OPERATIONS]
    )
    signed = torch.tensor([op.signed for op in OPERATIONS])
    rounds = []
    for _ in range(policy.num_ops if isinstance(policy, RandAugment) else 1):
        op_indices = torch.randint(0, len(OPERATIONS), (count,), generator=draws)
        levels = torch.randint(0, LEVELS + 1, (count,), generator=draws)
        if isinstance(policy, RandAugment):
            levels = torch.full((count,), policy.magnitude)
        signs = torch.randint(0, 2, (count,), generator=draws) * 2 - 1
        signs = torch.where(signed[op_indices], signs, 1)
        rounds.append((op_indices, signs * max_strengths[op_indices] * levels / LEVELS))
    return rounds


def apply_operations(
    images: Tensor, op_indices: Tensor, strengths: Tensor, fill_mode: str
) -> Tensor:
    """Change each image by its own operation, the one at that index of ``OPERATIONS``.

    ``op_indices`` int64 (N,) and ``strengths`` float32 (N,) are on the CPU.
    """
    order = op_indices.argsort(stable=True)
    sizes = op_indices.bincount(minlength=len(OPERATIONS)).tolist()
    positions, sorted_strengths = sent(order, images.device), sent(strengths[order], images.device)
    groups = zip(
        OPERATIONS, images[positions].split(sizes), sorted_strengths.split(sizes), strict=True
    )
    outputs = [op.apply(group, by, fill_mode) for op, group, by in groups if len(group)]
    out = torch.empty_like(images)
    out[positions] = torch.cat(outputs)
    return out
