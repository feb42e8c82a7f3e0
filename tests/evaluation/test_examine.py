"""The examination of a run: what is kept, that it is measured on the split asked for, and once."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from made_predictor import images, made
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


def subset(n: int = 40) -> Subset:
    labels = np.random.default_rng(1).integers(0, 3, n)
    return Subset(images(n), labels, np.arange(1, n, 2))


def accuracy(predictor, pixels: np.ndarray, labels: np.ndarray) -> float:
    return float((predictor.logits(pixels).argmax(1).numpy() == labels).mean())


def test_corruptions_are_measured_one_by_one() -> None:
    predictor, part = made(), subset()
    told = measure_shift(predictor, part, None)
    pixels, labels = part.images[part.indices], part.labels[part.indices]
    assert told["n"] == 20
    assert told["clean"] == accuracy(predictor, pixels, labels)
    every = []
    for row in told["corruptions"]:
        for severity, value in enumerate(row["accuracy"], 1):
            draws = generator(0, f"corruption/{row['name']}", severity, 0)
            changed = corrupt(torch.from_numpy(pixels), row["name"], severity, draws)
            assert value == accuracy(predictor, changed.numpy(), labels)
            every.append(value)
    assert len(every) == 75
    assert told["mean"] == pytest.approx(np.mean(every))
    noise = [r["accuracy"] for r in told["corruptions"] if r["family"] == "noise"]
    assert told["families"]["noise"] == pytest.approx(np.mean(noise))


def test_a_later_batch_has_draws_of_its_own_and_an_earlier_one_keeps_its() -> None:
    grey = torch.full((BATCH + 3, 8, 8, 1), 128, dtype=torch.uint8)
    whole = corrupt_all(grey, "gaussian noise", 3)
    assert torch.equal(whole[:BATCH], corrupt_all(grey[:BATCH], "gaussian noise", 3))
    assert not torch.equal(whole[:3], whole[BATCH:])


def test_spread_takes_places_from_everywhere() -> None:
    indices = np.arange(100, 200)
    assert space_evenly(indices, None) is indices and space_evenly(indices, 500) is indices
    assert space_evenly(indices, 4).tolist() == [100, 125, 150, 175]
    assert len(np.unique(space_evenly(indices, 99))) == 99


def test_views_are_compared_with_one() -> None:
    predictor, part = made(), subset()
    rows = compare_tta(predictor, part)
    labels = part.labels[part.indices]
    assert [row["views"] for row in rows] == [1, 2, 6, 10]
    right = {
        v: predictor.logits(part.images, v, part.indices).argmax(1).numpy() == labels
        for v in (1, 2, 6, 10)
    }
    for row in rows:
        assert row["accuracy"] == right[row["views"]].mean()
        assert row["cost"]["seconds"] > 0
        if row["views"] > 1:
            gain = right[row["views"]].mean() - right[1].mean()
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
    told = ood_scores(logits)
    assert list(told) == list(slow)
    for name, scores in slow.items():
        assert np.allclose(told[name], scores), name


def test_the_examination_of_validation_is_kept(copied: RunFolder, tmp_path: Path) -> None:
    groups = tmp_path / "groups.yaml"
    groups.write_text("low: ['0', '1', '2', '3', '4']\nhigh: ['5', '6', '7', '8', '9']\n")
    before = copied.provenance()
    found = evaluate_fully(copied, "val", groups, n_images=10, command="me")
    assert copied.evaluation("val") == json.loads(json.dumps(found))
    assert copied.evaluation("test") is None
    assert (found["data"], found["split"], found["command"]) == ("digits", "val", "me")
    assert [row["group"] for row in found["measured"]["groups"]] == ["low", "high"]
    without = {**found["measured"], "groups": None}
    assert without == copied.result()["val"]
    assert found["shift"]["n"] == 10 and len(found["shift"]["corruptions"]) == len(CORRUPTIONS)
    assert found["ood"] is None  # digits are not out of distribution for a run on the digits
    assert found["tta"][0]["accuracy"] == found["measured"]["accuracy"]
    assert copied.provenance() == before


def test_all_of_test_takes_one_opening(copied: RunFolder) -> None:
    found = evaluate_fully(copied, "test", n_images=5, command="me")
    assert found["measured"] == copied.result()["test"]
    openings = copied.provenance()["test_openings"]
    assert [(o["opener"], o["command"]) for o in openings[1:]] == [("evaluate", "me")]


def test_ood_images_from_a_named_source(copied: RunFolder) -> None:
    found = evaluate_fully(copied, "val", ood="digits", n_images=2)["ood"]
    assert (found["source"], found["n_known"], found["n_unknown"]) == ("digits", 144, 144)
    for row in found["scores"]:
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
    found = evaluate_fully(copied, "val", ood="digits", n_images=2)["ood"]
    ood_images = open_dataset("digits").read("train")
    indices = space_evenly(np.arange(len(ood_images)), 144)
    known = run.predictor.logits(run.subset.images, 1, run.subset.indices).numpy().max(1)
    unknown = run.predictor.logits(ood_images.images, 1, indices).numpy().max(1)
    wins = (known[:, None] > unknown).mean() + (known[:, None] == unknown).mean() / 2
    truth = [1] * 144 + [0] * 144
    told = {row["name"]: row["auroc"] for row in found["scores"]}
    assert told["largest logit"] == pytest.approx(wins)
    assert told["largest logit"] == roc_auc_score(truth, [*known, *unknown])


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
    told = result["temperature"]
    assert told["n"] == result["val"]["n"] and told["nll"] <= told["nll_before"]
    assert told["nll_before"] == pytest.approx(result["val"]["loss"])
    for split in ("val", "test"):  # and measured anew, so that 'evaluate' shows it
        assert result[split]["calibrated"]["temperature"] == told["value"]
        assert evaluate_run(copied, split)[0]["calibrated"] == result[split]["calibrated"]
    assert result["val"]["calibrated"]["nll"] == pytest.approx(told["nll"])


def test_other_views_have_no_temperature(copied: RunFolder) -> None:
    measured, _ = evaluate_run(copied, "test", 2)
    assert measured["calibrated"] is None
