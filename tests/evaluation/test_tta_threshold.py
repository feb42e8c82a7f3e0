"""Further views for images below the confidence threshold: which ones, and what they get."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_predictor import images, make_predictor, slow_views
from torch import Tensor

from cifarlab.data.opening import open_dataset
from cifarlab.data.splits import training_subsets
from cifarlab.evaluation.run_evaluation import evaluate_run
from cifarlab.inference.inputs import Inputs
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.run_predictor import RunPredictor
from cifarlab.inference.tta import average_logits, confidence, confidence_threshold, generate_views
from cifarlab.inference.weights import WeightsFile
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.predictions import Predictions
from cifarlab.system.errors import CheckpointError, Interrupted
from cifarlab.training.request import resolve_request
from cifarlab.training.train import train


def slow_confidence(logits: np.ndarray) -> list[float]:
    """The largest probability of each row, one after another."""
    sure = []
    for row in logits.astype(np.float64):
        probs = [math.exp(x - max(row)) for x in row]
        sure.append(max(probs) / sum(probs))
    return sure


def predictor_with_threshold(fraction: float, batch: np.ndarray) -> Predictor:
    """A predictor whose threshold has that fraction of the batch below it."""
    predictor = make_predictor()
    threshold = confidence_threshold(predictor.logits(batch), fraction)
    return replace(predictor, tta_threshold=threshold)


def record_batch_sizes(predictor: Predictor) -> list[int]:
    """How many images each pass through the network from now on takes."""
    counts: list[int] = []
    predictor.classifier.register_forward_hook(lambda _, inputs, __: counts.append(len(inputs[0])))
    return counts


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.25, 0.5, 0.999])
@pytest.mark.parametrize("seed", range(3))
def test_the_threshold_has_the_fraction_of_the_images_below_it(fraction: float, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 2, (137, 5)).astype(np.float32)
    threshold = confidence_threshold(torch.from_numpy(logits), fraction)
    n_below = sum(sure < threshold for sure in slow_confidence(logits))
    assert n_below == round(fraction * 137)
    assert min(abs(sure - threshold) for sure in slow_confidence(logits)) > 1e-6  # between two


def test_probability_decides_not_the_logit() -> None:
    sure = confidence(torch.tensor([[9.0, 8.9], [1.0, -1.0], [-5.0, 5.0]]))
    assert sure.argmin() == 0
    np.testing.assert_allclose(sure, slow_confidence(np.array([[9, 8.9], [1, -1], [-5, 5]])), 1e-6)


def test_nearly_certain_images_still_differ() -> None:
    """In float32 both probabilities would be 1."""
    first, second = confidence(torch.tensor([[30.0, 0.0], [20.0, 0.0]])).tolist()
    assert second < first


@pytest.mark.parametrize("views", [2, 6, 10])
@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.9])
def test_only_images_below_the_threshold_get_all_views_one_image_at_a_time(
    views: int, fraction: float
) -> None:
    batch = images(41)
    predictor = predictor_with_threshold(fraction, batch)
    single = torch.stack([predictor.logits(image[None])[0] for image in batch])
    sure = slow_confidence(single.numpy())
    rows = [row for row in range(41) if sure[row] < (predictor.tta_threshold or 0)]
    slow = single.clone()
    for row in rows:
        views_of_image = slow_views(batch[row], views)
        slow[row] = torch.stack([predictor.logits(view[None])[0] for view in views_of_image]).mean(
            0
        )
    logits = predictor.logits(batch, views)
    torch.testing.assert_close(logits, slow)
    changed = (logits != predictor.logits(batch)).any(1).nonzero().flatten().tolist()
    assert changed == rows and len(rows) == round(fraction * 41)


@pytest.mark.parametrize("views", [2, 6, 10])
def test_a_prediction_does_not_depend_on_the_other_images(views: int) -> None:
    batch = images(150)
    predictor = predictor_with_threshold(0.3, batch)
    together = predictor.logits(batch, views)
    alone = torch.cat([predictor.logits(image[None], views) for image in batch])
    torch.testing.assert_close(alone, together)
    sure = confidence(predictor.logits(batch)).argsort()
    for indices in (sure[:20], sure[-20:]):  # only images below the threshold, only above
        logits = predictor.logits(batch, views, indices.numpy())
        torch.testing.assert_close(logits, together[indices])


def test_far_more_images_than_a_batch() -> None:
    """Sure and unsure images in batches of their own."""
    predictor = make_predictor()
    pool = images(600)
    order = predictor.logits(pool).softmax(1).amax(1).argsort().numpy()
    batch = pool[order]  # the unsure ones first, far more than a batch
    predictor = predictor_with_threshold(0.5, batch)
    counts = record_batch_sizes(predictor)
    logits = predictor.logits(batch, 2)
    assert counts == [125, 125, 125, 125, 100, 125, 125, 50]
    single = predictor.logits(batch)
    assert torch.equal(logits[300:], single[300:])
    assert not torch.isclose(logits[:300], single[:300], rtol=0, atol=1e-7).all(1).any()


@pytest.mark.parametrize(
    ("views", "passes"), [(2, 100 + 25), (6, 100 + 5 * 25), (10, 100 + 9 * 25)]
)
def test_the_first_view_is_not_computed_again(views: int, passes: int) -> None:
    predictor = predictor_with_threshold(0.25, images(100))
    counts = record_batch_sizes(predictor)
    predictor.logits(images(100), views)
    assert sum(counts) == passes


@pytest.mark.parametrize("views", [2, 6])
def test_a_threshold_above_all_images_is_the_same_as_none(views: int) -> None:
    predictor, batch = make_predictor(), images(90)
    all_views = replace(predictor, tta_threshold=1.0)
    assert torch.equal(all_views.logits(batch, views), predictor.logits(batch, views))


@pytest.mark.parametrize("n", [0, 1])
def test_few_images(n: int) -> None:
    predictor = make_predictor()
    logits = replace(predictor, tta_threshold=1.0).logits(images(n), 6)
    assert logits.shape == (n, 3)
    torch.testing.assert_close(logits, predictor.logits(images(n), 6))


def test_six_views_are_distinct_and_the_image_comes_first() -> None:
    batch = torch.from_numpy(images(2))
    views_of_image = list(generate_views(batch, 6))
    assert views_of_image[0] is batch
    for image, view in zip(
        batch.numpy(), zip(*(v.numpy() for v in views_of_image), strict=True), strict=True
    ):
        for slow, fast in zip(slow_views(image, 6), view, strict=True):
            np.testing.assert_array_equal(fast, slow)


def test_known_logits_of_the_first_view_are_taken_as_they_are() -> None:
    def network(view: Tensor) -> Tensor:
        return view.flatten(1)[:, :3].float()

    batch = torch.from_numpy(images(3))
    first = torch.full((3, 3), 1000.0)
    expected = (first + network(batch.flip(2))) / 2
    assert torch.equal(average_logits(network, batch, 2, first), expected)
    assert torch.equal(first, torch.full((3, 3), 1000.0))


@pytest.fixture(scope="module")
def run_with_threshold(
    tiny: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    """A run of one epoch, with six views for the least sure fifth of its validation images."""
    folder = RunFolder(tmp_path_factory.mktemp("tta") / "run")
    train(tiny(EPOCH | {"evaluation.tta_views": 6, "evaluation.tta_fraction": 0.2}), folder)
    return folder


EPOCH = {"training.duration": "1 epoch"}


def held_out(folder: RunFolder) -> np.ndarray:
    _, subset = training_subsets(open_dataset("digits"), folder.recipe().data)
    assert subset
    return np.array(subset.images[subset.indices])


def test_the_threshold_is_of_validation_and_kept_with_the_weights(
    run_with_threshold: RunFolder,
) -> None:
    result = (run_with_threshold.result() or {})["evaluated"]
    predictor = Predictor.load(run_with_threshold.weights("last"))
    sure = confidence(predictor.logits(held_out(run_with_threshold)))
    assert predictor.tta_threshold == result.pop("tta_threshold")
    assert result == {"checkpoint": "last", "epoch": 1, "tta_views": 6, "tta_fraction": 0.2}
    assert float((sure < predictor.tta_threshold).double().mean()) == pytest.approx(0.2, abs=0.01)


def test_it_reaches_result_evaluation_and_prediction(
    run_with_threshold: RunFolder, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    result = run_with_threshold.result() or {}
    all_views = train(tiny(EPOCH | {"evaluation.tta_views": 6}), RunFolder(tmp_path / "all"))
    one_view = train(tiny(EPOCH), RunFolder(tmp_path / "none"))
    losses = {json.dumps(r["val"]["loss"]) for r in (result, all_views, one_view)}
    assert len(losses) == 3
    for split in ("val", "test"):
        assert evaluate_run(run_with_threshold, split)[0] == result[split]
    # one view for all: there are no further ones
    assert evaluate_run(run_with_threshold, "val", 1)[0]["loss"] == one_view["val"]["loss"]
    assert evaluate_run(run_with_threshold, "val", 2)[0]["loss"] not in {
        result["val"]["loss"],
        one_view["val"]["loss"],
    }


def test_a_run_predicts_each_image_alone_as_it_was_measured(run_with_threshold: RunFolder) -> None:
    run_predictor, batch = RunPredictor(run_with_threshold), held_out(run_with_threshold)
    logits = Predictions.read(run_with_threshold.predictions / "val.safetensors").logits / (
        run_predictor.temperature or 1
    )
    expected = torch.from_numpy(logits).double().softmax(1).numpy()
    together = run_predictor.predict(
        Inputs([str(n) for n in range(len(batch))], batch)
    ).probabilities
    alone = [
        run_predictor.predict(Inputs(["one"], image[None])).probabilities[0] for image in batch
    ]
    np.testing.assert_allclose(together, expected, atol=1e-6)
    np.testing.assert_allclose(alone, expected, atol=1e-5)


@pytest.mark.parametrize(("checkpoint", "validation"), [("last", 0), ("last", 0.1), ("best", 0.1)])
def test_a_recipe_s_threshold_is_taken_and_none_is_looked_for(
    tmp_path: Path, tiny: Callable[..., Recipe], checkpoint: str, validation: float
) -> None:
    changes = {"evaluation.tta_views": 2, "evaluation.tta_threshold": 0.4}
    changes |= {"data.val_fraction": validation, "evaluation.checkpoint": checkpoint}
    folder = RunFolder(tmp_path / "run")
    result = train(tiny(EPOCH | changes), folder)
    assert result["evaluated"]["tta_threshold"] == 0.4
    for file in folder.checkpoints.glob("????.safetensors"):
        assert WeightsFile.read(file)[0].tta_threshold == 0.4
    assert evaluate_run(folder, "test")[0] == result["test"]
    folder.result_file.unlink()
    if validation:  # an unfinished run knows it, too
        measured = evaluate_run(folder, "val")[0]
        assert measured["loss"] == result["val"]["loss"]


@pytest.mark.parametrize("views", [None, 1, 2])
def test_an_unfinished_run_without_a_threshold_is_measured_in_one_view_alone(
    tmp_path: Path, tiny: Callable[..., Recipe], signal_after: Callable, views: int | None
) -> None:
    folder = RunFolder(tmp_path / "run")
    changes = {"evaluation.tta_views": 6, "evaluation.tta_fraction": 0.2}
    with pytest.raises(Interrupted):
        train(tiny(changes), folder, callbacks=[signal_after(15)])
    if views == 1:
        assert evaluate_run(folder, "val", views)[0]["n"]
        return
    with pytest.raises(CheckpointError, match="has no confidence threshold yet") as raised:
        evaluate_run(folder, "val", views)
    assert raised.value.hint == "finish it with --resume; evaluate --tta-views 1 works without"
    with pytest.raises(CheckpointError, match="has no confidence threshold yet") as raised:
        RunPredictor(folder)
    assert raised.value.hint == "finish it with --resume"  # predict and explain have no --views


def test_killed_after_best_got_its_threshold_it_ends_the_same(
    tmp_path: Path, end_of: Callable, tiny: Callable[..., Recipe]
) -> None:
    """The state knows the sha256 that best had before."""
    uninterrupted, killed = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "killed")
    changes = {
        "evaluation.tta_views": 2,
        "evaluation.tta_fraction": 0.2,
        "evaluation.checkpoint": "best",
    }
    train(tiny(EPOCH | changes), uninterrupted)
    assert WeightsFile.read(uninterrupted.weights("best"))[0].tta_threshold
    shutil.copytree(uninterrupted.path, killed.path)
    killed.result_file.unlink()
    train(uninterrupted.recipe(), killed, resume=True)
    assert end_of(killed) == end_of(uninterrupted)
    assert killed.weights("best").read_bytes() == uninterrupted.weights("best").read_bytes()


def test_killed_before_the_result_it_ends_the_same(
    run_with_threshold: RunFolder, tmp_path: Path, end_of: Callable, tiny: Callable[..., Recipe]
) -> None:
    folder = RunFolder(tmp_path / "killed")
    shutil.copytree(run_with_threshold.path, folder.path)
    folder.result_file.unlink()
    train(run_with_threshold.recipe(), folder, resume=True)
    assert end_of(folder) == end_of(run_with_threshold)


def test_a_longer_run_finds_its_own(run_with_threshold: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(run_with_threshold.path, folder.path)
    longer = resolve_request("tiny", run=folder.path, extend="2 epochs", schedule="hold")
    result = train(longer.recipe, longer.folder, resume=True)
    before = (run_with_threshold.result() or {})["evaluated"]["tta_threshold"]
    threshold = result["evaluated"]["tta_threshold"]
    assert threshold != before
    assert Predictor.load(longer.folder.weights("last")).tta_threshold == threshold
