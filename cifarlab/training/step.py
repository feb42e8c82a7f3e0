"""One optimizer step: what is trained on, in which pieces, and the update."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from cifarlab.augment.pipeline import pixels_at, shrunk
from cifarlab.data.batch_plan import batch_sizes
from cifarlab.data.loader import Batch
from cifarlab.models.distributed_layers import set_batch_position
from cifarlab.models.layers import set_passes
from cifarlab.optim.clipping import clip_units
from cifarlab.optim.group_settings import set_rates, set_trained
from cifarlab.optim.penalties import penalise
from cifarlab.system.randomness import seed_global
from cifarlab.training.run import Run


def step(run: Run, batch: Batch) -> tuple[Tensor, Tensor, int]:
    """Update once; the mean loss and the hits of the images trained on, and their number.

    Those of all processes, each of which trains on its part of the batch. Loss and hits stay on the
    device.
    """
    training, state = run.recipe.training, run.state
    # dropout draws from the global generator: named like every other draw
    seed_global(state.device, run.recipe.seed, "network", state.step)
    set_step(run, state.step)
    batch = worth_a_backward_pass(run, sized(run, batch, state.step))
    state.optimizer.zero_grad(set_to_none=True)
    loss, correct = summed(run, *backward(run, batch))
    if training.clip_norm is not None:
        clip_grad_norm_(state.classifier.parameters(), training.clip_norm)
    if training.clip_units is not None:
        clip_units(run.body_parameters, training.clip_units)
    penalise(state.optimizer)
    state.optimizer.step()
    if state.averager:
        state.averager.update(state.classifier, state.step, run.plan.end(state.step))
    return loss, correct, batch.whole


def set_step(run: Run, step: int) -> None:
    """Give the optimizer the rates and momenta of that step, and say what it trains."""
    planned, per_epoch = run.plan.segments[0].steps, run.plan.steps_per_epoch
    share = run.share(step)
    set_rates(run.state.optimizer, run.recipe.schedule, step, share, planned, per_epoch)
    for start, parameters in run.frozen:
        if step >= start:
            set_trained(parameters, False)


def backward(run: Run, batch: Batch) -> tuple[Tensor, Tensor]:
    """Gradients of the mean loss over all images, piece by piece; that loss, and the hits.

    Of this process's images alone: over all processes they add up. The pieces' gradients add up to
    the whole batch's, but for batch normalisation, which takes its statistics from a piece (Hoffer
    et al. 2017, section 4); a step keeps the recipe's share of the running ones, however many
    pieces it has. A mixed image is a hit where the label with the larger share is predicted.
    """
    losses, hits = [], []
    sizes = batch_sizes(batch.whole, run.recipe.training.micro_batch)
    set_passes(run.batch_norms, len(sizes))
    for piece in pieces(run, batch, sizes):
        with run.compute.autocast():
            logits = run.network(piece.images)
        loss = mixed_loss(logits, piece, run.recipe.training.label_smoothing)
        if len(piece.labels) < batch.whole:
            loss = loss * (len(piece.labels) / batch.whole)
        loss.backward()
        losses.append(loss.detach())
        wanted = piece.labels if piece.others is None or piece.share >= 0.5 else piece.others
        hits.append((logits.argmax(1) == wanted).sum())
    return torch.stack(losses).sum(), torch.stack(hits).sum()


def pieces(run: Run, batch: Batch, sizes: Sequence[int]) -> Iterator[Batch]:
    """What this process has of each piece, of these sizes; the network is told where that lies."""
    first = read = 0
    for size in sizes:
        own = run.processes.part(size)
        count = own.stop - own.start
        start = first + own.start if batch.total is None else read
        if run.processes.count > 1:
            set_batch_position(run.state.classifier, own.start, size)
        yield batch.at(slice(start, start + count))
        first, read = first + size, read + count


def summed(run: Run, loss: Tensor, correct: Tensor) -> tuple[Tensor, Tensor]:
    """Add up the gradients of all processes, in place, and give the sums of loss and hits.

    One sum for all, and not DistributedDataParallel, which gains by starting with the last layers'
    gradients but must be told of pieces and built anew when a stage is frozen.
    """
    if run.processes.count == 1:
        return loss, correct
    gradients = [p.grad for p in run.state.classifier.parameters() if p.grad is not None]
    parts = [*(g.flatten() for g in gradients), loss.view(1), correct.to(loss.dtype).view(1)]
    total = run.processes.add_up(torch.cat(parts)).split([len(part) for part in parts])
    for gradient, sum_ in zip(gradients, total, strict=False):
        gradient.copy_(sum_.view(gradient.shape))
    return total[-2][0], total[-1][0].to(correct.dtype)


def mixed_loss(
    logits: Tensor, batch: Batch, smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """Cross-entropy with the labels, or by share with both labels of mixed images.

    Zhang et al. 2018, figure 1; Yun et al. 2019, algorithm A1. Mean, or (N,) with ``none``.
    """
    settings: dict[str, Any] = {"label_smoothing": smoothing, "reduction": reduction}
    own = cross_entropy(logits, batch.labels, **settings)
    if batch.others is None:
        return own
    other = cross_entropy(logits, batch.others, **settings)
    return own * batch.share + other * (1 - batch.share)


def sized(run: Run, batch: Batch, step: int) -> Batch:
    """The batch at the image size that the recipe wants at that step."""
    pixels = pixels_at(run.sizes, step)
    return batch if pixels is None else batch._replace(images=shrunk(batch.images, pixels))


@torch.no_grad()
def worth_a_backward_pass(run: Run, batch: Batch) -> Batch:
    """The recipe's share of the batch with the largest losses (Jiang et al. 2019, section 3).

    Judged by the network as it evaluates, in one forward pass, at the size of the recipe's
    ``training.selection.pixels``; mixed images by their mixed loss.
    """
    selection, network = run.recipe.training.selection, run.state.classifier
    drawn = batch.whole
    count = trained_images(run, run.state.step, drawn)
    if count == drawn:
        return batch
    own = batch.at(run.processes.part(drawn))
    judged = own.images
    if selection.pixels is not None and selection.pixels < min(judged.shape[1:3]):
        judged = shrunk(judged, selection.pixels)
    network.eval()
    with run.compute.autocast():
        pieces = judged.split(run.recipe.training.micro_batch or len(judged))
        logits = torch.cat([network(piece) for piece in pieces])
    network.train()
    losses = run.processes.gathered(mixed_loss(logits, own, reduction="none"), drawn)
    return batch.at(losses.topk(count).indices.sort().values)


def trained_images(run: Run, step: int, drawn: int) -> int:
    """How many of a batch of ``drawn`` images that step trains on."""
    if step < run.select_from:
        return drawn
    return selected(drawn, run.recipe.training.selection.share)


def selected(images: int, share: float) -> int:
    """How many of a batch are trained on once examples are selected."""
    return min(images, max(2, round(share * images)))
