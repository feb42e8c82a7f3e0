"""What is done with a trained network, on a device like a GPU: as on the processor."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from on_a_device import MADE, require_alike
from pretended_device import pretended

from cifarlab.audit.duplicates import find_near_duplicates
from cifarlab.evaluation.features import features
from cifarlab.evaluation.run_evaluation import evaluate_fully, evaluate_run
from cifarlab.explain.maps import class_activation_maps, feature_maps, map_shapes
from cifarlab.explain.sanity import randomize_layers
from cifarlab.inference.inputs import Inputs
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.run_predictor import RunPredictor
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.device import choose_compute
from cifarlab.training.tensor_stats import TensorStats
from cifarlab.training.train import train


def silent(_what: str, _done: int, _total: int | None) -> None: ...


def without_seconds(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {k: without_seconds(v) for k, v in tree.items() if k not in ("cost", "time")}
    return [without_seconds(one) for one in tree] if isinstance(tree, list) else tree


def evaluated(folder: RunFolder) -> Any:
    return [evaluate_run(folder, "val", views) for views in (1, 10)]


def fully_evaluated(folder: RunFolder) -> Any:
    return without_seconds(evaluate_fully(folder, images=20))


def explained(folder: RunFolder) -> Any:
    predictor = Predictor.load(folder.weights("last"))
    shapes = map_shapes(predictor)
    checked = randomize_layers(predictor, MADE[:3])
    return {
        "shapes": {name: list(shape) for name, shape in shapes.items()},
        "maps": class_activation_maps(predictor, MADE, list(shapes)),
        "features": feature_maps(predictor, MADE, list(shapes)),
        "cascade": checked.maps,
        "before the last layer": features(predictor, MADE),
    }


def predicted(folder: RunFolder) -> Any:
    return RunPredictor(folder).predict(Inputs(list("abcdefg"), MADE)).probabilities


def duplicates(_folder: RunFolder) -> Any:
    images = np.concatenate([MADE, MADE ^ 1, MADE[:2]])
    twins = find_near_duplicates(images, choose_compute().device, silent)
    assert len(twins.pairs) == 9
    return {"pairs": twins.pairs.tolist(), "similarity": twins.similarity}


@pytest.mark.parametrize("tool", [evaluated, fully_evaluated, explained, predicted, duplicates])
def test_a_tool_tells_the_same(tool: Callable, copied: RunFolder) -> None:
    wanted = tool(copied)
    for index in (True, False):
        with pretended(index=index):
            require_alike(tool(copied), wanted)


def test_the_record_is_the_same(tiny: Callable, tmp_path: Path) -> None:
    recipe = tiny({"data.train_subset_fraction": 0.1, "training.duration": "1 epoch"})
    plain, folder = RunFolder(tmp_path / "processor"), RunFolder(tmp_path / "device")
    train(recipe, plain, callbacks=[TensorStats()])
    with pretended():
        train(recipe, folder, callbacks=[TensorStats()])
    assert len(plain.tensor_stats.read()) == 2
    require_alike(folder.tensor_stats.read(), plain.tensor_stats.read())
