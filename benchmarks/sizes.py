"""What a trial of each network holds on disk, and what one step exchanges between processes.

    CIFARLAB_DATA=DATA python benchmarks/sizes.py

Trains each recipe for ten small steps with SGD and with Adam, nothing else changed, and adds up the
files of its run folder. The gradients that processes exchange are 4 bytes per parameter.
"""

import tempfile
from pathlib import Path
from typing import Any

from _results import write_result

from cifarlab.models.build import count_parameters
from cifarlab.recipes.catalog import find
from cifarlab.recipes.text import apply_overrides
from cifarlab.run_folder.folder import RunFolder
from cifarlab.training.train import train

RECIPES = ("asha2021/classic", "speed/94", "resnet18", "asha2021/resnet34")
SHORT = (
    "training.duration=10 steps",
    "training.batch_size=16",
    "data.train_subset_fraction=0.01",
    "data.val_fraction=0.01",
    "evaluation.test=false",
)
OPTIMIZERS = {
    "own": (),
    "sgd": ("optimizer={kind: sgd, lr: 0.01, momentum: 0.9}",),
    "adam": ("optimizer={kind: adam, lr: 0.001}",),
}


def main() -> None:
    """Measure each network, print it, write the result."""
    networks = {name: measure(name) for name in RECIPES}
    print(f"written to {write_result('sizes', 'cpu', {'networks': networks})}")


def measure(name: str) -> dict[str, Any]:
    """Parameters, bytes of the gradients, and of a run folder under each optimizer."""
    n_parameters = count_parameters(find(name).model)
    folders = {kind: folder_bytes(name, words) for kind, words in OPTIMIZERS.items()}
    result = {"parameters": n_parameters, "gradient_bytes": 4 * n_parameters, "folder": folders}
    print(name, result)
    return result


def folder_bytes(name: str, words: tuple[str, ...]) -> int:
    """Bytes of a run folder after training."""
    with tempfile.TemporaryDirectory() as directory:
        train(apply_overrides(find(name), [*SHORT, *words]), RunFolder(directory + "/run"))
        return sum(path.stat().st_size for path in Path(directory).rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
