"""Compilation ahead of the first step, so that its time does not count as training."""

import torch

from cifarlab.training.run import Run
from cifarlab.training.step import backward, resize, set_step


def compile_ahead(run: Run) -> None:
    """Compile the network for every kind of step of the run; change no state.

    Steps differ in image size, in the number of images (by one within an epoch) and in which
    parameters are trained. Does nothing unless the run is compiled (``Compute.compile_mode``).
    """
    if run.compute.compile_mode is None:
        return
    state, device, plan = run.state, run.compute.device, run.plan
    weights = {name: t.clone() for name, t in state.classifier.state_dict().items()}
    with run.clock.profile("compile"):
        state.classifier.train()
        compiled_kinds = set()
        for step in range(state.step, plan.steps):
            set_step(run, step)
            count = plan.n_trained(step, plan.n_images(step))
            flags = tuple(p.requires_grad for p in state.classifier.parameters())
            kind = plan.image_size(step), count, flags
            if kind in compiled_kinds:
                continue
            compiled_kinds.add(kind)
            images = torch.zeros(count, *run.dataset.image_shape, dtype=torch.uint8)
            labels = torch.zeros(count, dtype=torch.int64)
            # augmented, so that they have the type of a training batch
            batch = run.loader.augment(images.to(device), labels.to(device), labels, 0, step)
            backward(run, resize(run, batch, step))
            state.optimizer.zero_grad(set_to_none=True)
        state.classifier.load_state_dict(weights)
        set_step(run, min(state.step, plan.steps - 1))
