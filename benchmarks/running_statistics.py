"""How much of a run's accuracy is lost to running statistics that dropout has made wrong?

    python benchmarks/running_statistics.py RUN [--images 10000]

Dropout in front of a batch normalisation makes its inputs vary more in training than in evaluation
(Li et al. 2019, arXiv:1801.05134), and a slow momentum lets running statistics lag behind the
weights: two reasons why a network may measure worse than it was trained. Images of the run's
training split, unaugmented, go through its last checkpoint: as measured; with the statistics of
each batch; with dropout at work, by the running statistics and by those of each batch; and with
running statistics taken anew without dropout. Were they slow, dropout at work would not help; were
they wrong because of dropout, it does. The test split stays closed.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from _results import write_result
from torch import nn

from cifarlab.data.opening import open_data
from cifarlab.inference.predictor import Predictor
from cifarlab.run_folder.folder import RunFolder

BATCH = 500
_NORM = nn.modules.batchnorm._BatchNorm
_DROPOUT = nn.modules.dropout._DropoutNd


@contextmanager
def in_training_mode(classifier: nn.Module, *kinds: type[nn.Module]) -> Iterator[None]:
    """Switch these kinds of modules to training and leave their buffers as they were."""
    kept = {name: buffer.clone() for name, buffer in classifier.named_buffers()}
    for module in classifier.modules():
        module.train(isinstance(module, kinds))
    yield
    classifier.eval()
    buffers = dict(classifier.named_buffers())
    for name, value in kept.items():
        buffers[name].copy_(value)


def accuracy(predictor: Predictor, images: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy in per cent, in batches that are the same in each of the ways."""
    correct = 0
    with torch.no_grad():
        for start in range(0, len(images), BATCH):
            part = slice(start, start + BATCH)
            logits = predictor.classifier(torch.from_numpy(images[part]))
            correct += int((logits.argmax(1).numpy() == labels[part]).sum())
    return 100 * correct / len(images)


def take_statistics_anew(classifier: nn.Module, images: np.ndarray) -> None:
    """Set the running statistics to the mean of all batches', without dropout."""
    for module in classifier.modules():
        if isinstance(module, _NORM):
            module.train()
            module.reset_running_stats()
            module.momentum = None  # the plain mean
    with torch.no_grad():
        for start in range(0, len(images), BATCH):
            classifier(torch.from_numpy(images[start : start + BATCH]))
    classifier.eval()


def measure(predictor: Predictor, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy on these images, by the way in which they are normalised."""
    classifier = predictor.classifier.eval()
    ways: dict[str, tuple[type[nn.Module], ...]] = {
        "as measured": (),
        "each batch's statistics": (_NORM,),
        "running statistics, dropout at work": (_DROPOUT,),
        "each batch's statistics, dropout at work": (_NORM, _DROPOUT),
    }
    result = {}
    for way, kinds in ways.items():
        with in_training_mode(classifier, *kinds):
            result[way] = accuracy(predictor, images, labels)
    take_statistics_anew(classifier, images)
    result["running statistics taken anew without dropout"] = accuracy(predictor, images, labels)
    return result


def main() -> None:
    """Measure a run and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=10_000)
    args = parser.parse_args()
    folder = RunFolder(args.run)
    training = open_data(folder.recipe().data).training
    drawn = np.random.default_rng(0).permutation(training.indices)[: args.images]
    images, labels = training.images[drawn], training.labels[drawn]
    predictor = Predictor.load(folder.weights("last"))
    torch.manual_seed(0)  # dropout's draws
    result = measure(predictor, images, labels)
    for way, value in result.items():
        print(f"{value:6.2f} %  {way}")
    recipe, about = folder.recipe().name, {"epoch": predictor.epoch, "images": len(images)}
    write_result(f"running-statistics-{recipe}", "cpu", {**about, "accuracy": result})


if __name__ == "__main__":
    main()
