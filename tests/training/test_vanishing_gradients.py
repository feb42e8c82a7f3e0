"""fudan's figure 2: the gradient record shows that gradients vanish under sigmoid."""

import json

import pytest

from cifarlab.recipes.catalog import find
from cifarlab.recipes.text import change
from cifarlab.training.tensor_stats import TensorStats
from cifarlab.training.train import train

SHORT = {
    "data.source": "digits",
    "training.duration": "12 steps",
    "training.precision": "float32",
    "augment": {},
}


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("plain-20", 0.4, 3), ("residual-20", 0.4, 3), ("plain-20-sigmoid", 0, 0.15)],
)
def test_the_first_layer_s_gradient_beside_the_last_one_s(tmp_path, name, least, most):
    train(change(find(f"fudan/{name}"), SHORT), tmp_path / "run", callbacks=[TensorStats()])
    lines = (tmp_path / "run" / "tensor_stats.jsonl").read_text().splitlines()
    norms = {layer: stats["grad_norm"] for layer, stats in json.loads(lines[-1])["weights"].items()}
    assert least <= norms["stem.conv1"] / norms["head"] <= most
