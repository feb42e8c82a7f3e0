"""One optimizer step: the images that it trains on, its micro-batches, and the update."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from cifarlab.augment.transforms import downsample
from cifarlab.data.loader import Batch
from cifarlab.losses.build import mean_loss
from cifarlab.losses.modules import LossFunction
from cifarlab.models.distributed_layers import batch_position
from cifarlab.models.layers import set_passes
from cifarlab.optim.clipping import adaptive_clip_grad
from cifarlab.optim.group_settings import apply_penalties, apply_schedule, set_requires_grad
from cifarlab.system.randomness import seed_global
from cifarlab.training.plan import Shard
from cifarlab.training.run import Run


def step(run: Run, batch: Batch) -> tuple[Tensor, Tensor, int]:
    """Update the weights once; return mean loss, number of correct predictions, of images.

    All three are over the images that all processes trained on together. Loss and number of correct
    predictions are scalar tensors, which stay on the device.
    """
    training, state = run.recipe.training, run.state
    # dropout draws from the global generator, which is seeded by name like all others
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
    """Set the learning rates and momenta of ``step``, and which parameters are trained."""
    plan, factor = run.plan, run.lr_factor(step)
    length = plan.planned_steps, plan.steps_per_epoch
    apply_schedule(run.state.optimizer, run.recipe.schedule, step, factor, *length)
    for start, parameters in run.freeze_schedule:
        if step >= start:
            set_requires_grad(parameters, False)


def backward(run: Run, batch: Batch) -> tuple[Tensor, Tensor]:
    """Compute the gradients of the mean loss over all images, one micro-batch at a time.

    Return that loss and the number of correct predictions, both of this process's images alone; the
    sums over all processes are the batch's. The gradients of the micro-batches add up to those of
    the batch, but for batch normalisation, which takes its statistics from a micro-batch (Hoffer et
    al. 2017, section 4). A step replaces the recipe's fraction of the running statistics, however
    many micro-batches it has. A mixed image is correct where the label with the larger fraction is
    predicted.
    """
    losses, correct = [], []
    shards = run.plan.shards(batch.global_size)
    set_passes(run.batch_norms, len(shards))
    for micro_batch, shard in split_micro_batches(batch, shards):
        with run.compute.autocast(), batch_position(shard.start, shard.size):
            logits = run.network(micro_batch.images)
        loss = mixed_loss(partial(mean_loss, run.losses.training), logits, micro_batch)
        if run.teacher:
            loss = run.teacher.blend(loss, logits, micro_batch.images)
        if len(micro_batch.labels) < batch.global_size:
            loss = loss * (len(micro_batch.labels) / batch.global_size)
        loss.backward()
        losses.append(loss.detach())
        correct.append((logits.argmax(1) == micro_batch.main_labels).sum())
    return torch.stack(losses).sum(), torch.stack(correct).sum()


def split_micro_batches(batch: Batch, shards: list[Shard]) -> Iterator[tuple[Batch, Shard]]:
    """Yield this process's images of each micro-batch, with their shard.

    A batch with ``n_examples`` consists of this process's images alone, shard by shard.
    """
    start = 0
    for shard in shards:
        end = start + shard.indices.stop - shard.indices.start
        yield batch.select(shard.indices if batch.n_examples is None else slice(start, end)), shard
        start = end


def all_reduce_gradients(run: Run, loss: Tensor, correct: Tensor) -> tuple[Tensor, Tensor]:
    """Sum the gradients over all processes, in place; return the sums of loss and ``correct``.

    One all-reduce for all, and no DistributedDataParallel: that overlaps it with the backward pass,
    but would have to know of micro-batches, and to be built again when a stage is frozen.

    Args:
        run: the run, with the gradients of this process's images
        loss: of this process's images, divided by the number of all, a scalar tensor
        correct: number of correct predictions of this process's images, a scalar tensor
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
    """Return the loss of a batch; of mixed images that with both labels, weighted by lam.

    Zhang et al. 2018, figure 1; Yun et al. 2019, algorithm A1.

    Args:
        loss: a function of logits and labels, of the mean (a scalar) or of each image (N,)
        logits: (N, K)
        batch: its labels, and those of the partners where images are mixed
    """
    losses = loss(logits, batch.labels)
    if batch.partner_labels is None:
        return losses
    return losses * batch.lam + loss(logits, batch.partner_labels) * (1 - batch.lam)


def resize(run: Run, batch: Batch, step: int) -> Batch:
    """Return the batch with its images at the size that the recipe has for ``step``.

    Args:
        run: the run
        batch: images at full size
        step: counted from 0
    """
    size = run.plan.image_size(step)
    return batch if size is None else batch._replace(images=downsample(batch.images, size))


@torch.no_grad()
def select_hard_examples(run: Run, batch: Batch) -> Batch:
    """Return the recipe's fraction of the batch, of largest loss (Jiang et al. 2019, section 3).

    The losses are those of a forward pass in evaluation mode, of images at the size
    ``training.selective_backprop.image_size``; mixed images have their mixed loss.
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
        chunks = images.split(run.plan.micro_batch_size or len(images))
        logits = torch.cat([network(chunk) for chunk in chunks])
    network.train()
    losses = run.processes.all_gather(mixed_loss(run.losses.selection, logits, shard), n_examples)
    return batch.select(losses.topk(count).indices.sort().values)
