"""One optimizer step: what is trained on, in which micro-batches, and the update."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from cifarlab.augment.transforms import downsample
from cifarlab.data.loader import Batch
from cifarlab.losses.build import mean_loss
from cifarlab.losses.kinds import LossFunction
from cifarlab.models.distributed_layers import batch_position
from cifarlab.models.layers import set_passes
from cifarlab.optim.clipping import adaptive_clip_grad
from cifarlab.optim.group_settings import apply_penalties, apply_schedule, set_requires_grad
from cifarlab.system.randomness import seed_global
from cifarlab.training.plan import Shard
from cifarlab.training.run import Run


def step(run: Run, batch: Batch) -> tuple[Tensor, Tensor, int]:
    """Update once; return the mean loss, the number of correct predictions, and of images.

    Those trained on by all processes, each of which has its part of the batch. Loss and count stay
    on the device.
    """
    training, state = run.recipe.training, run.state
    # dropout draws from the global generator: named like every other draw
    seed_global(state.device, run.recipe.seed, "network", state.step)
    set_step(run, state.step)
    batch = select_hard_examples(run, resize(run, batch, state.step))
    state.optimizer.zero_grad(set_to_none=True)
    loss, correct = all_reduce_gradients(run, *backward(run, batch))
    if training.clip_grad_norm is not None:
        clip_grad_norm_(state.classifier.parameters(), training.clip_grad_norm)
    if training.agc is not None:
        adaptive_clip_grad(run.body_parameters, training.agc)
    apply_penalties(state.optimizer)
    state.optimizer.step()
    if state.averager:
        first, segment = run.plan.segment(state.step)
        state.averager.update(state.classifier, state.step, first + segment.steps)
    return loss, correct, batch.global_size


def set_step(run: Run, step: int) -> None:
    """Give the optimizer the learning rates and momenta of that step, and say what it trains."""
    plan, factor = run.plan, run.lr_factor(step)
    length = plan.planned, plan.steps_per_epoch
    apply_schedule(run.state.optimizer, run.recipe.schedule, step, factor, *length)
    for start, parameters in run.frozen:
        if step >= start:
            set_requires_grad(parameters, False)


def backward(run: Run, batch: Batch) -> tuple[Tensor, Tensor]:
    """Compute the gradients of the mean loss over all images, one micro-batch at a time.

    Return that loss, and how many are predicted correctly. Of this process's images alone: over all
    processes they add up. The gradients of the micro-batches add up to the whole batch's, but for
    batch normalisation, which takes its statistics from a micro-batch (Hoffer et al. 2017, section
    4); a step keeps the recipe's fraction of the running ones, however many micro-batches it has. A
    mixed image counts as correct where the label with the larger fraction is predicted.
    """
    losses, correct = [], []
    shards = run.plan.shards(batch.global_size)
    set_passes(run.batch_norms, len(shards))
    for micro_batch, shard in micro_batches(batch, shards):
        with run.compute.autocast(), batch_position(shard.start, shard.size):
            logits = run.network(micro_batch.images)
        loss = mixed_loss(partial(mean_loss, run.losses.training), logits, micro_batch)
        if len(micro_batch.labels) < batch.global_size:
            loss = loss * (len(micro_batch.labels) / batch.global_size)
        loss.backward()
        losses.append(loss.detach())
        correct.append((logits.argmax(1) == micro_batch.main_labels).sum())
    return torch.stack(losses).sum(), torch.stack(correct).sum()


def micro_batches(batch: Batch, shards: list[Shard]) -> Iterator[tuple[Batch, Shard]]:
    """Yield what this process has of each micro-batch; a part of a batch has nothing else."""
    read = 0
    for shard in shards:
        end = read + shard.indices.stop - shard.indices.start
        yield batch.select(shard.indices if batch.n_examples is None else slice(read, end)), shard
        read = end


def all_reduce_gradients(run: Run, loss: Tensor, correct: Tensor) -> tuple[Tensor, Tensor]:
    """Add up the gradients of all processes, in place; return the sums of loss and ``correct``.

    One sum for all, and not DistributedDataParallel, which gains by starting with the last layers'
    gradients but must know of micro-batches and built anew when a stage is frozen.
    """
    if run.processes.world_size == 1:
        return loss, correct
    gradients = [p.grad for p in run.state.classifier.parameters() if p.grad is not None]
    parts = [*(g.flatten() for g in gradients), loss.view(1), correct.to(loss.dtype).view(1)]
    total = run.processes.all_reduce(torch.cat(parts)).split([len(part) for part in parts])
    for gradient, sum_ in zip(gradients, total, strict=False):
        gradient.copy_(sum_.view(gradient.shape))
    return total[-2][0], total[-1][0].to(correct.dtype)


def mixed_loss(loss: LossFunction, logits: Tensor, batch: Batch) -> Tensor:
    """Return the loss with the labels; of mixed images with both, weighted by lam.

    Zhang et al. 2018, figure 1; Yun et al. 2019, algorithm A1.
    """
    losses = loss(logits, batch.labels)
    if batch.partner_labels is None:
        return losses
    return losses * batch.lam + loss(logits, batch.partner_labels) * (1 - batch.lam)


def resize(run: Run, batch: Batch, step: int) -> Batch:
    """The batch at the image size that the recipe wants at that step."""
    pixels = run.plan.pixels(step)
    return batch if pixels is None else batch._replace(images=downsample(batch.images, pixels))


@torch.no_grad()
def select_hard_examples(run: Run, batch: Batch) -> Batch:
    """Return the recipe's part of the batch with the largest losses (Jiang et al. 2019, section 3).

    Judged by the network as it evaluates, in one forward pass, at the size of the recipe's
    ``training.selective_backprop.image_size``; mixed images by their mixed loss.
    """
    config, network = run.recipe.training.selective_backprop, run.state.classifier
    n_examples = batch.global_size
    count = run.plan.n_trained(run.state.step, n_examples)
    if count == n_examples:
        return batch
    shard = batch.select(run.processes.shard(n_examples))
    images = shard.images
    if config.image_size is not None and config.image_size < min(images.shape[1:3]):
        images = downsample(images, config.image_size)
    network.eval()
    with run.compute.autocast():
        chunks = images.split(run.recipe.training.micro_batch_size or len(images))
        logits = torch.cat([network(chunk) for chunk in chunks])
    network.train()
    losses = run.processes.all_gather(mixed_loss(run.losses.selection, logits, shard), n_examples)
    return batch.select(losses.topk(count).indices.sort().values)
