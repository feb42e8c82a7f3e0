"""Whether a run fits in a GPU's memory, tried before its first step; and in which micro-batches.

The largest step is tried, not computed: what cuDNN takes for itself is known to nobody before.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from cifarlab.data.splits import count_test_images
from cifarlab.inference.predictor import batch_size
from cifarlab.system.device_memory import forget_peak_memory, free_memory
from cifarlab.system.errors import OutOfMemoryError, RecipeError
from cifarlab.training.run import Run
from cifarlab.training.step import backward, resize, set_step

_SLOTS = 2  # tensors that an optimizer keeps of each parameter, at most, of the shipped ones


def fit_memory(run: Run) -> None:
    """Refuse a run that a GPU has no memory for; choose its micro-batches where they are auto.

    What a GPU has memory for is in provenance.json, and a run that goes on keeps it.

    Raises:
        RecipeError: micro-batches are auto, and a layer has statistics of the batch
        OutOfMemoryError: the run does not fit, with what would
    """
    on_main, folder = run.processes.broadcast_from_rank0, run.folder
    if run.recipe.training.micro_batch_size != "auto":
        find_micro_batches(run)
        return
    provenance = on_main(folder.provenance)
    if "micro_batch_size" in provenance:
        _keep_micro_batches(run, provenance["micro_batch_size"])
    else:
        find_micro_batches(run)
        if run.compute.device.type != "cpu":  # where nothing was chosen
            provenance["micro_batch_size"] = run.plan.micro_batch_size
            on_main(lambda: folder.write_provenance(provenance))
    if size := run.plan.micro_batch_size:
        run.notes.append(f"training.micro_batch_size=auto: at most {size} images at a time")


def find_micro_batches(run: Run) -> None:
    """Set the run's micro-batches to the recipe's, or to the largest halves of a batch that fit.

    Before that the training images make room, where they were on the GPU. On a CPU, auto is the
    whole batch: its memory is the machine's, and nothing is tried. Nothing of the run's state
    changes.

    Raises:
        RecipeError: micro-batches are auto, and a layer has statistics of the batch
        OutOfMemoryError: the recipe's micro-batches don't fit, or none do
    """
    is_auto = run.recipe.training.micro_batch_size == "auto"
    norm = _find_batch_statistics(run.state.classifier)
    if is_auto and norm:
        raise RecipeError(
            f"training.micro_batch_size=auto: {norm} sees one micro-batch alone, so that its size "
            "decides the result",
            "give a number, or take another model.norm",
        )
    if run.compute.device.type == "cpu":
        return
    _require_predictions_fit(run)
    first, what = run.plan.micro_batch_size, _describe_pass(run)
    for size in _smaller_sizes(run):
        _set_size(run, size)
        if _fits(run, _compute_gradients):
            break
    else:
        raise _does_not_fit(run, what, "nor do two images at a time: take a smaller network")
    if not is_auto and run.plan.micro_batch_size != first:
        note = f"batch normalisation then sees so few ({norm}): that changes the result"
        equal = "the result is the same but for rounding, and 'auto' chooses it"
        fit = (
            f"training.micro_batch_size={run.plan.micro_batch_size} fits; {note if norm else equal}"
        )
        raise _does_not_fit(run, what, fit)


def _keep_micro_batches(run: Run, size: int | None) -> None:
    """Set the micro-batches that were chosen where the run began; refuse a GPU too small for them.

    Raises:
        OutOfMemoryError: they don't fit
    """
    _set_size(run, size)
    if run.compute.device.type == "cpu":
        return
    _require_predictions_fit(run)
    if not _fits(run, _compute_gradients):
        hint = "go on where it began, or on a GPU as large (CIFARLAB_DEVICE), or on the cpu"
        raise _does_not_fit(run, f"{_describe_pass(run)}, as the run began with,", hint)


def _require_predictions_fit(run: Run) -> None:
    if not _fits(run, _predict):
        raise _does_not_fit(run, "a prediction", "take a smaller network, or CIFARLAB_DEVICE=cpu")


def _describe_pass(run: Run) -> str:
    return f"a pass over {run.plan.micro_batch_size or max(run.plan.batch_sizes)} images"


def _smaller_sizes(run: Run) -> Iterator[int | None]:
    """Yield the run's micro-batch size, then its halves."""
    size, least = run.plan.micro_batch_size, max(2, run.processes.world_size)
    yield size
    size = size or max(run.plan.batch_sizes)
    while size > least:
        size = max(least, -(-size // 2))
        yield size


def _does_not_fit(run: Run, what: str, hint: str) -> OutOfMemoryError:
    gibibytes = free_memory(run.compute.device)[0] / 2**30
    return OutOfMemoryError(f"{what} needs more than the GPU's {gibibytes:.1f} GiB free", hint)


def _set_size(run: Run, size: int | None) -> None:
    run.plan = replace(run.plan, micro_batch_size=size)
    run.loader.local_indices = run.plan.local_indices


def _find_batch_statistics(network: nn.Module) -> str:
    """Return the class of a layer that computes with the other images of a batch; "" without."""
    layers = (m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    return next((type(layer).__name__ for layer in layers), "")


def _fits(run: Run, work: Callable[[Run], object]) -> bool:
    """Return whether each process can do ``work``, if need be without images on its GPU."""
    return _fits_everywhere(run, work) or (_make_room(run) and _fits_everywhere(run, work))


def _make_room(run: Run) -> bool:
    """Read the images from the host's memory; return whether any process had them on its GPU."""
    # of one answer, since the next trial is one of all
    (had_images,) = run.processes.all_reduce_max(int(run.loader.release_images()))
    if had_images:
        run.notes.append("the images are read from the host's memory: the GPU's is full")
    return bool(had_images)


def _fits_everywhere(run: Run, work: Callable[[Run], object]) -> bool:
    """Return whether each process can do ``work``, beside what its optimizer will keep.

    The traces of it in the run are removed.
    """
    classifier = run.state.classifier
    weights = {name: t.clone() for name, t in classifier.state_dict().items()}
    trains = [(p, p.requires_grad) for p in classifier.parameters()]
    with run.clock.profile("compile"):
        fails = not _succeeds(run, work)
    run.state.optimizer.zero_grad(set_to_none=True)
    classifier.load_state_dict(weights)
    for parameter, requires_grad in trains:
        parameter.requires_grad_(requires_grad)
    forget_peak_memory(run.compute.device)  # the peak of a run is its own steps'
    if fails:  # else what is cached serves the first step
        torch.get_device_module(run.compute.device).empty_cache()
    return not any(run.processes.all_reduce_max(int(fails)))


def _succeeds(run: Run, work: Callable[[Run], object]) -> bool:
    state, slots = run.state, []
    try:
        if not state.optimizer.state:
            slots = [_slots_of(p) for p in state.classifier.parameters()]
        work(run)
        del slots
    except RuntimeError as error:  # mps has no class of its own for it
        if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error):
            return False
        raise
    return True


def _predict(run: Run) -> Tensor:
    n_test = count_test_images(run.dataset, run.recipe.data) if run.recipe.evaluation.test else 0
    n_images = min(batch_size(run.compute.device), max(n_test, len(run.validation or ())))
    return run.predictor.logits(torch.zeros(n_images, *run.dataset.image_shape, dtype=torch.uint8))


def _compute_gradients(run: Run) -> None:
    """Compute the gradients of the largest step."""
    plan, device, state = run.plan, run.compute.device, run.state
    # an epoch's first batch is its largest one
    steps = [epoch.first for epoch in plan.epochs if epoch.first >= state.step]
    number = max(*steps, state.step, plan.steps - 1, key=lambda step: _count_pixels(run, step))
    count = plan.n_trained(number, plan.n_images(number))
    local = plan.local_indices(count)
    shape = count if local is None else len(local), *run.dataset.image_shape
    images = torch.zeros(shape, dtype=torch.uint8, device=device)
    labels = torch.zeros(shape[0], dtype=torch.int64, device=device)
    batch = run.loader.augment(images, labels, torch.zeros(count, dtype=torch.int64), 0, 0)
    state.classifier.train()
    set_step(run, min(state.step, plan.steps - 1))
    backward(replace(run, network=state.classifier), resize(run, batch, number))


def _slots_of(parameter: Tensor) -> Tensor:
    return torch.empty(_SLOTS, *parameter.shape, device=parameter.device)


def _count_pixels(run: Run, step: int) -> int:
    size = run.plan.image_size(step) or run.dataset.image_shape[0]
    return run.plan.n_trained(step, run.plan.n_images(step)) * size**2
