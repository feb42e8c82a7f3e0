"""Compilation ahead of the first step, so that its time is counted apart from training."""

import torch

from cifarlab.augment.pipeline import pixels_at
from cifarlab.training.run import Run
from cifarlab.training.step import backward, n_trained, resize, set_step


def compile_ahead(run: Run) -> None:
    """Compile the network for every kind of step that the run will make; changes no state.

    Steps differ in image size, in the number of images (by one within an epoch) and in which
    parameters are trained. Does nothing unless the run is compiled (compute.Compute).
    """
    if run.compute.compile_mode is None:
        return
    state, step_before, device = run.state, run.state.step, run.compute.device
    weights = {name: t.clone() for name, t in state.classifier.state_dict().items()}
    with run.clock.running("compile"):
        state.classifier.train()
        for step in _first_of_each_kind(run):
            set_step(run, step)
            count = _n_images(run, step)
            height, width, channels = run.dataset.image_shape
            images = torch.zeros(count, height, width, channels, dtype=torch.uint8)
            labels = torch.zeros(count, dtype=torch.int64)
            # augmented, so that they have the type of those that training will send
            batch = run.loader.augment(images.to(device), labels.to(device), labels, 0, step)
            backward(run, resize(run, batch, step))
            state.optimizer.zero_grad(set_to_none=True)
        state.classifier.load_state_dict(weights)
        set_step(run, min(step_before, run.plan.steps - 1))


def _first_of_each_kind(run: Run) -> list[int]:
    """The first of the remaining steps of each kind."""
    kinds: dict[tuple[object, ...], int] = {}
    for step in range(run.state.step, run.plan.steps):
        set_step(run, step)
        trained = tuple(p.requires_grad for p in run.state.classifier.parameters())
        kinds.setdefault((pixels_at(run.sizes, step), _n_images(run, step), trained), step)
    return list(kinds.values())


def _n_images(run: Run, step: int) -> int:
    """How many images that step trains on."""
    epoch = next(e for e in run.plan.epochs if step < e.first + e.steps)
    return n_trained(run, step, run.loader.batch_sizes[step - epoch.first])
