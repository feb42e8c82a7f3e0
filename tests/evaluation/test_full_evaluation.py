"""The full evaluation of a run: what is stored, of which split, and that it opens test once."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from made_predictor import images, make_predictor
from sklearn.metrics import roc_auc_score

from cifarlab.data.dataset import Subset
from cifarlab.evaluation.corruptions.suite import CORRUPTIONS, corrupt
from cifarlab.evaluation.measure import compare_tta
from cifarlab.evaluation.run_evaluation import OpenSplit, evaluate_fully, evaluate_run
from cifarlab.evaluation.shift import (
    BATCH,
    corrupt_all,
    measure_shift,
    ood_scores,
    space_evenly,
)
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import RecipeError, RunFolderError, UserError
from cifarlab.system.randomness import generator


def make_subset(n: int = 40) -> Subset:
    labels = np.random.default_rng(1).integers(0, 3, n)
    return Subset(images(n), labels, np.arange(1, n, 2))


def accuracy(predictor, pixels: np.ndarray, labels: np.ndarray) -> float:
    return float((predictor.logits(pixels).argmax(1).numpy() == labels).mean())


def test_corruptions_are_measured_one_by_one() -> None:
    predictor, subset = make_predictor(), make_subset()
    result = measure_shift(predictor, subset, None)
    pixels, labels = (
        subset.images[subset.indices],
        subset.labels[subset.indices],
    )
    assert result["n"] == 20
    assert result["clean"] == accuracy(predictor, pixels, labels)
    accuracies = []
    for row in result["corruptions"]:
        for severity, value in enumerate(row["accuracy"], 1):
            draws = generator(0, f"corruption/{row['name']}", severity, 0)
            corrupted = corrupt(torch.from_numpy(pixels), row["name"], severity, draws)
            assert value == accuracy(predictor, corrupted.numpy(), labels)
            accuracies.append(value)
    assert len(accuracies) == 75
    assert result["mean"] == pytest.approx(np.mean(accuracies))
    noise = [r["accuracy"] for r in result["corruptions"] if r["family"] == "noise"]
    assert result["families"]["noise"] == pytest.approx(np.mean(noise))


def test_a_later_batch_has_draws_of_its_own_and_an_earlier_one_keeps_its() -> None:
    grey = torch.full((BATCH + 3, 8, 8, 1), 128, dtype=torch.uint8)
    corrupted = corrupt_all(grey, "gaussian noise", 3)
    assert torch.equal(corrupted[:BATCH], corrupt_all(grey[:BATCH], "gaussian noise", 3))
    assert not torch.equal(corrupted[:3], corrupted[BATCH:])


def test_spaced_indices_are_from_everywhere() -> None:
    indices = np.arange(100, 200)
    assert space_evenly(indices, None) is indices and space_evenly(indices, 500) is indices
    assert space_evenly(indices, 4).tolist() == [100, 125, 150, 175]
    assert len(np.unique(space_evenly(indices, 99))) == 99


def test_views_are_compared_with_one() -> None:
    predictor, subset = make_predictor(), make_subset()
    rows = compare_tta(predictor, subset)
    labels = subset.labels[subset.indices]
    assert [row["views"] for row in rows] == [1, 2, 6, 10]
    is_correct = {
        v: predictor.logits(subset.images, v, subset.indices).argmax(1).numpy() == labels
        for v in (1, 2, 6, 10)
    }
    for row in rows:
        assert row["accuracy"] == is_correct[row["views"]].mean()
        assert row["cost"]["seconds"] > 0
        if row["views"] > 1:
            gain = is_correct[row["views"]].mean() - is_correct[1].mean()
            assert row["against_single_view"]["gain"] == pytest.approx(gain)
    assert rows[0]["against_single_view"] is None


def test_ood_scores_are_their_formulas() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (50, 4)).astype(np.float32)
    powers = np.exp(logits.astype(float))
    slow = {
        "largest probability": [max(row) / sum(row) for row in powers],
        "largest logit": [max(row) for row in logits],
        "energy": [np.log(sum(row)) for row in powers],
    }
    result = ood_scores(logits)
    assert list(result) == list(slow)
    for name, scores in slow.items():
        assert np.allclose(result[name], scores), name


def test_the_full_evaluation_of_validation_is_stored(copied: RunFolder, tmp_path: Path) -> None:
    groups = tmp_path / "groups.yaml"
    groups.write_text("low: ['0', '1', '2', '3', '4']\nhigh: ['5', '6', '7', '8', '9']\n")
    before = copied.provenance()
    evaluation = evaluate_fully(copied, "val", groups, n_images=10, command="me")
    assert copied.evaluation("val") == json.loads(json.dumps(evaluation))
    assert copied.evaluation("test") is None
    assert (evaluation["data"], evaluation["split"], evaluation["command"]) == (
        "digits",
        "val",
        "me",
    )
    assert [row["group"] for row in evaluation["measured"]["groups"]] == ["low", "high"]
    without = {**evaluation["measured"], "groups": None}
    assert without == copied.result()["val"]
    assert evaluation["shift"]["n"] == 10 and len(evaluation["shift"]["corruptions"]) == len(
        CORRUPTIONS
    )
    assert evaluation["ood"] is None  # digits are not out of distribution for a run on the digits
    assert evaluation["tta"][0]["accuracy"] == evaluation["measured"]["accuracy"]
    assert copied.provenance() == before


def test_all_of_test_takes_one_opening(copied: RunFolder) -> None:
    evaluation = evaluate_fully(copied, "test", n_images=5, command="me")
    assert evaluation["measured"] == copied.result()["test"]
    openings = copied.provenance()["test_openings"]
    assert [(o["opener"], o["command"]) for o in openings[1:]] == [("evaluate", "me")]


def test_ood_images_from_a_named_source(copied: RunFolder) -> None:
    evaluation = evaluate_fully(copied, "val", ood="digits", n_images=2)["ood"]
    assert (evaluation["source"], evaluation["n_known"], evaluation["n_unknown"]) == (
        "digits",
        144,
        144,
    )
    for row in evaluation["scores"]:
        assert 0.3 < row["auroc"] < 0.7  # the same kind of images: nothing to tell apart


def test_a_source_that_is_not_there_costs_no_measurement(
    copied: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*_args: object) -> None:
        raise AssertionError("work that is thrown away")

    for work in ("compare_tta", "measure_shift"):
        monkeypatch.setattr(sys.modules[evaluate_fully.__module__], work, measure)
    monkeypatch.setattr(OpenSplit, "measure", measure)
    with pytest.raises(UserError, match="nowhere"):
        evaluate_fully(copied, "val", ood="nowhere.zip")


def test_the_area_is_that_of_known_above_unknown(copied: RunFolder) -> None:
    from cifarlab.data.opening import open_dataset
    from cifarlab.evaluation.run_evaluation import open_split

    run = open_split(copied, "val", "test", "", None)
    evaluation = evaluate_fully(copied, "val", ood="digits", n_images=2)["ood"]
    ood_images = open_dataset("digits").read("train")
    indices = space_evenly(np.arange(len(ood_images)), 144)
    logits = run.predictor.logits(run.subset.images, 1, run.subset.indices).numpy().max(1)
    ood_logits = run.predictor.logits(ood_images.images, 1, indices).numpy().max(1)
    wins = (logits[:, None] > ood_logits).mean() + (logits[:, None] == ood_logits).mean() / 2
    truth = [1] * 144 + [0] * 144
    result = {row["name"]: row["auroc"] for row in evaluation["scores"]}
    assert result["largest logit"] == pytest.approx(wins)
    assert result["largest logit"] == roc_auc_score(truth, [*logits, *ood_logits])


def test_an_unfinished_run_has_no_test(copied: RunFolder) -> None:
    copied.result_file.unlink()
    with pytest.raises(RunFolderError, match="has not finished"):
        evaluate_fully(copied, "test")
    assert evaluate_fully(copied, "val", n_images=2)["measured"]["calibrated"] is None


def test_no_such_split(copied: RunFolder) -> None:
    with pytest.raises(RecipeError, match="can't evaluate"):
        evaluate_fully(copied, "train")


def test_the_temperature_is_of_validation_and_serves_test(copied: RunFolder) -> None:
    result = copied.result()
    temperature = result["temperature"]
    assert temperature["n"] == result["val"]["n"]
    assert temperature["nll"] <= temperature["nll_before"]
    assert temperature["nll_before"] == pytest.approx(result["val"]["loss"])
    for split in ("val", "test"):  # and measured anew, so that 'evaluate' shows it
        assert result[split]["calibrated"]["temperature"] == temperature["value"]
        assert evaluate_run(copied, split)[0]["calibrated"] == result[split]["calibrated"]
    assert result["val"]["calibrated"]["nll"] == pytest.approx(temperature["nll"])


def test_other_views_have_no_temperature(copied: RunFolder) -> None:
    measured, _ = evaluate_run(copied, "test", 2)
    assert measured["calibrated"] is None
