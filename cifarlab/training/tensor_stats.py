"""What weights, activations and gradients look like by epoch: a run's ``tensor_stats.jsonl``.

The record decides nothing of the outcome, so it is no setting of the recipe but a callback: a run
with it and one without have equal weights. It does nothing inside a step. A line is written before
the epoch's checkpoint, and resuming drops the lines ahead of that, so that a run that was killed
has the record of one that was not.

    {"epoch": 3, "images": 125, "grad_norm": 0.8,
     "weights": {"stem.conv1": {"low": -0.3, "high": 0.4, "counts": [...], "grad_norm": 0.1}},
     "activations": {"stem.act1": {"low": 0, "high": 5.1, "counts": [...], "dead": [0, 64]}}}

Epoch 0 is before the first step. Weights are those that are evaluated, of convolutions and linear
layers. Activations are of training images without augmentation; ``dead`` units are counted as in
the result. ``grad_norm`` is the norm of the loss's gradient in the epoch's last step, as the
optimizer got it: clipped where the recipe clips. It is None where nothing was trained.
"""

import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cifarlab.evaluation.activity import histogram, subsample, unit_maxima, watch_activations
from cifarlab.inference.predictor import CPU_BATCH
from cifarlab.system.files import write_text
from cifarlab.training.callback import Callback
from cifarlab.training.run import Run

MIN_IMAGES, MAX_IMAGES = 25, CPU_BATCH  # images per epoch; never more than one batch
# one image for so many that are trained on, which keeps the cost below 1 %
IMAGES_PER_RECORDED = 100


class TensorStats(Callback):
    """The callback that writes the record."""

    def __init__(self) -> None:
        self._images: np.ndarray | None = None

    def on_train_start(self, run: Run) -> None:
        """Drop the lines ahead of the checkpoint, or write that of the weights before training."""
        indices = select_images(run.loader.indices.numpy())
        self._images = np.array(run.dataset.read("train").images[indices])
        if run.state.step:
            run.folder.tensor_stats.drop_after(run.state.epoch)
        else:
            # an earlier start that was killed left at most this same line
            write_text(run.folder.tensor_stats.path, json.dumps(self._line(run)) + "\n")

    def on_validation_end(self, run: Run) -> None:
        """Write the epoch's line."""
        run.folder.tensor_stats.append(self._line(run))

    def _line(self, run: Run) -> dict[str, Any]:
        assert self._images is not None
        norms, total_norm = gradient_norms(run)
        weights = {
            name: histogram(parameter) | {"grad_norm": norms[name]}
            for name, parameter in named_weights(run.state.eval_classifier.body)
        }
        activations: dict[str, dict[str, Any]] = {}

        def record_activation(name: str, out: Tensor) -> None:
            peaks = unit_maxima(out)
            dead = [int((peaks <= 0).sum()), len(peaks)]
            activations[name] = histogram(out) | {"dead": dead}

        count = len(self._images)
        watch_activations(run.predictor, self._images, np.arange(count), record_activation)
        line: dict[str, Any] = {"epoch": run.state.epoch, "images": count, "grad_norm": total_norm}
        line |= {"weights": weights, "activations": activations}
        return {key: round_floats(value) for key, value in line.items()}


def select_images(indices: np.ndarray) -> np.ndarray:
    """Return those of the training images at ``indices`` (n,) that are recorded, evenly spread."""
    return subsample(indices, min(max(len(indices) // IMAGES_PER_RECORDED, MIN_IMAGES), MAX_IMAGES))


def named_weights(body: torch.nn.Module) -> list[tuple[str, Tensor]]:
    """Return the weights of convolutions and linear layers by their layers' names, in order."""
    return [
        (name.removesuffix(".weight"), parameter)
        for name, parameter in body.named_parameters()
        if name.endswith("weight") and parameter.ndim > 1
    ]


def gradient_norms(run: Run) -> tuple[dict[str, float | None], float | None]:
    """Return the gradients' norms by layer (see ``named_weights``), and that of all together."""
    weights = dict(named_weights(run.state.classifier.body))
    gradients = {id(p): p.grad for p in run.state.classifier.parameters() if p.grad is not None}
    if not gradients:
        return dict.fromkeys(weights, None), None
    norms = torch.stack(torch._foreach_norm([*gradients.values()])).tolist()
    by_parameter = dict(zip(gradients, norms, strict=True))
    return {n: by_parameter.get(id(p)) for n, p in weights.items()}, float(np.linalg.norm(norms))


def round_floats(tree: Any) -> Any:
    """Return ``tree`` with floats of six digits, which is all that a figure shows."""
    if isinstance(tree, dict):
        return {key: round_floats(value) for key, value in tree.items()}
    return float(f"{tree:.6g}") if isinstance(tree, float) else tree
