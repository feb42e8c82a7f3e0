"""Runs that are ready to train, and networks that a test can compare."""

from pathlib import Path

import torch
from torch import Tensor

from cifarlab.data.loader import Batch
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.training.run import Run
from cifarlab.training.setup import prepare

# No batch normalisation, no dropout: a batch's gradient is the mean of its images' gradients.
PLAIN_CNN = {
    "model.kind": "cnn",
    "model.channels": [4, 6],
    "model.hidden_features": 16,
    "model.dropout": [0.0, 0.0, 0.0],
    "optimizer.lr": 0.02,
}


def prepare_run(recipe: Recipe, path: Path) -> Run:
    """A new run before its first step, in training mode."""
    run = prepare(recipe, RunFolder(path))
    run.state.classifier.train()
    return run


def first_batch(run: Run, images: int | None = None) -> Batch:
    """The first of the run's batches, cut to that many images."""
    batch = next(run.loader.epoch(0))
    return batch.select(torch.arange(len(batch.labels))[:images])


def clone_gradients(run: Run) -> dict[str, Tensor]:
    parameters = run.state.classifier.named_parameters()
    return {name: p.grad.clone() for name, p in parameters if p.grad is not None}
