"""The figures of docs/export.md are those of the measurements in benchmarks/results/."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cifarlab.stats.intervals import lower_bound_of_gain

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
FILE = sorted((ROOT / "benchmarks" / "results").glob("export_cpu_*.json"))[-1]
RESULT: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
NAMES = {
    "digits": "digits",
    "tutorial-cnn": "tutorial CNN",
    "speed-94": "`speed/94`, six views",
    "pre-activation": "pre-activation",
    "resnet18": "ResNet-18",
    "normaliser-free": "normaliser-free",
}
MARGIN = 0.3


def points(fraction: float) -> str:
    return f"{100 * fraction:+.2f}"


def certificate_row(name: str) -> str:
    """What the certificates of the float32 and of the INT8 graph say."""
    certificates = RESULT["runs"][name]["certificates"]
    same, run = (certificates["onnx"][key] for key in ("against_float32", "against_run"))
    int8 = certificates["onnx int8"]["against_run"]
    low, high = map(points, run["gain_interval"])
    verdict = "certified" if int8["at_least"] > -MARGIN / 100 else "refused"
    largest = f"{same['max_logit_difference']:.1e}".replace("e-0", "e-")
    return (
        f"| {NAMES[name]} | {largest}, {same['n_flips']} | {run['precision']}: {run['n_flips']}, "
        f"{points(run['gain'])} ({low} to {high}) | {points(int8['gain'])}, "
        f"{points(int8['at_least'])}, {int8['n_flips']} | {verdict} |"
    )


def speed_row(name: str) -> str:
    """Images/s of ours, of the float32 and of the INT8 graph, one and 128 at a time."""
    return f"| {NAMES[name]} | {speed_cell(name, '1')} | {speed_cell(name, '128')} |"


def speed_cell(name: str, size: str) -> str:
    speed = RESULT["runs"][name]["speed"][size]
    ours, *graphs = (f"{float(f'{value:.4g}'):,.0f}" for value in speed["median"].values())
    ratios = [f"{ratio:.2g}" for ratio in speed["ratio"].values()][1:]
    return ", ".join([ours, *(f"{n} ({ratio})" for n, ratio in zip(graphs, ratios, strict=True))])


@pytest.mark.parametrize("row", [certificate_row, speed_row])
@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_what_was_measured(row: Any, name: str) -> None:
    assert row(name) in PAGE


def test_no_other_network_was_measured() -> None:
    assert set(RESULT["runs"]) == set(NAMES)
    for name, run in RESULT["runs"].items():
        assert list(run["certificates"]) == ["onnx", "onnx int8"], name
        assert run["certificates"]["onnx"]["against_float32"]["n_flips"] == 0, name
        for speed in run["speed"].values():
            assert list(speed["median"]) == ["cifarlab", "onnx", "onnx int8"]


def test_how_many_flips_the_margin_bears() -> None:
    words = "40 of each pass and 41 do not; where none becomes right, 8 that become"
    assert words in PAGE and "wrong pass and 9 do not" in PAGE and "for 5,000 images" in PAGE
    bounds = [lower_bound_of_gain(*pair, 5000) for pair in ((40, 40), (41, 41), (0, 8), (0, 9))]
    assert [bound > -MARGIN / 100 for bound in bounds] == [True, False, True, False]


def test_which_onnxruntime_the_extras_take() -> None:
    assert "or later; the extras take 1.22 or later." in PAGE
    for file in ("pyproject.toml", "serve/pyproject.toml"):
        required = re.findall(r"onnxruntime>=([\d.]+)", (ROOT / file).read_text(encoding="utf-8"))
        assert set(required) == {"1.22"}
