"""The figures of a run by kind, as files are named, and what each shows in words."""

from collections.abc import Callable, Sequence

from cifarlab.plots import images, run, tensor_stats
from cifarlab.plots.spec import Plot
from cifarlab.run_folder.run_data import RunData

FIGURES: dict[str, tuple[Callable[[RunData], Plot | None], str]] = {
    "curves": (run.curves, "Accuracy, loss and learning rate by epoch"),
    "confusion": (run.confusion, "Confusion matrix"),
    "classes": (run.per_class, "Accuracy of each class with its interval"),
    "mistakes": (images.worst_gallery, "The worst mistakes"),
    "confident": (images.confident_gallery, "The most confident mistakes"),
    "reliability": (run.reliability, "Reliability diagram"),
    "shift": (run.shift, "Accuracy under corruptions"),
    "weights": (tensor_stats.weights, "Distribution of each layer's weights by epoch"),
    "activations": (tensor_stats.activations, "Distribution of each layer's activations by epoch"),
    "signals": (tensor_stats.signals, "Gradient norms and dead units by layer and epoch"),
    "suspects": (images.suspects_gallery, "Labels that are probably wrong"),
    "duplicates": (images.duplicates_gallery, "Near-duplicates"),
}
# of several runs
SHARED_FIGURES: dict[str, tuple[Callable[[Sequence[RunData]], Plot | None], str]] = {
    "curves": (run.overlay, "Validation accuracy by epoch, all runs"),
}
