"""Measuring a finished run again: the same numbers; who may open the test split, and its record."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import cifarlab
from cifarlab.dashboard.image_prediction import Network
from cifarlab.evaluation import run_evaluation
from cifarlab.evaluation.run_evaluation import OpenSplit, evaluate_fully, evaluate_run
from cifarlab.explain.explain_run import explain_run
from cifarlab.inference.run_predictor import RunPredictor
from cifarlab.recipes.catalog import find
from cifarlab.recipes.schema import Recipe
from cifarlab.report.write import write_report
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.predictions import Predictions
from cifarlab.system.errors import CheckpointError, DataError, RecipeError, RunFolderError
from cifarlab.training.request import resolve_request
from cifarlab.training.train import train

SOURCE = Path(cifarlab.__file__).parent


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_numbers_of_the_result_come_back_exactly(copied: RunFolder, split: str) -> None:
    measured, data = evaluate_run(copied, split)
    assert measured == copied.result()[split]
    assert data == "digits"


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluation.checkpoint": "best", "evaluation.tta_views": 6},
        {"training.precision": "bfloat16", "evaluation.tta_views": 2},
        {"model.kind": "cnn", "model.channels": [4], "model.dropout": [0.2, 0.2]},
    ],
    ids=["best, 6 views", "bfloat16, 2 views", "other network"],
)
def test_other_recipes_come_back_exactly_too(
    tmp_path: Path, tiny: Callable[..., Recipe], changes: dict[str, object]
) -> None:
    folder = RunFolder(tmp_path / "run")
    result = train(tiny({"training.duration": "2 epochs", **changes}), folder)
    assert evaluate_run(folder, "val")[0] == result["val"]
    assert evaluate_run(folder, "test")[0] == result["test"]


def test_other_views_measure_anew_and_change_no_file(copied: RunFolder) -> None:
    before = {p: p.read_bytes() for p in copied.path.rglob("*") if p.is_file()}
    measured, _ = evaluate_run(copied, "val", 6)
    assert measured["loss"] != copied.result()["val"]["loss"]
    assert {p: p.read_bytes() for p in copied.path.rglob("*") if p.is_file()} == before


def test_each_opening_of_the_test_split_is_recorded(copied: RunFolder) -> None:
    assert [o["opener"] for o in copied.provenance()["test_openings"]] == ["train"]
    evaluate_run(copied, "val")
    evaluate_run(copied, "test", command="first")
    evaluate_run(copied, "test", 2, command="second")
    openings = copied.provenance()["test_openings"]
    assert [o["opener"] for o in openings] == ["train", "evaluate", "evaluate"]
    assert [o["command"] for o in openings[1:]] == ["first", "second"]
    assert all(re.match(r"\d{4}-\d\d-\d\dT", o["time"]) for o in openings)


@pytest.mark.parametrize("evaluate", [evaluate_run, evaluate_fully])
def test_a_run_that_is_deleted_meanwhile_is_not_made_anew(
    copied: RunFolder, monkeypatch: pytest.MonkeyPatch, evaluate: Callable[..., object]
) -> None:
    """Its opening would lie where nobody counts it."""
    module = run_evaluation if evaluate is evaluate_run else OpenSplit
    name = "open_data" if evaluate is evaluate_run else "measure"
    original = getattr(module, name)

    def delete_before(*args: object, **kwargs: object) -> object:
        shutil.rmtree(copied.path)
        return original(*args, **kwargs) if module is run_evaluation else {}

    monkeypatch.setattr(module, name, delete_before)
    monkeypatch.setattr(run_evaluation, "compare_tta", lambda *_: {})
    monkeypatch.setattr(run_evaluation, "measure_shift", lambda *_: {})
    with pytest.raises(RunFolderError, match="is no run folder"):
        evaluate(copied, "test")
    assert not copied.path.exists()


def test_the_rest_of_the_provenance_stays(copied: RunFolder) -> None:
    before = copied.provenance()
    evaluate_run(copied, "test")
    after = copied.provenance()
    assert {**after, "test_openings": None} == {**before, "test_openings": None}


def test_the_test_split_of_an_unfinished_run_stays_closed(copied: RunFolder) -> None:
    copied.result_file.unlink()
    with pytest.raises(RunFolderError, match="has not finished"):
        evaluate_run(copied, "test")
    assert len(copied.provenance()["test_openings"]) == 1
    assert evaluate_run(copied, "val")[0]["n"] == 144


def test_changed_data_is_refused_before_the_test_split_is_opened(copied: RunFolder) -> None:
    provenance = copied.provenance()
    provenance["data"]["fingerprint"] = "0" * 64
    copied.write_provenance(provenance)
    for split in ("val", "test"):
        with pytest.raises(RunFolderError, match="images are not those"):
            evaluate_run(copied, split)
    assert len(copied.provenance()["test_openings"]) == 1


def test_wrong_groups_are_refused_before_the_test_split_is_opened(
    copied: RunFolder, tmp_path: Path
) -> None:
    (tmp_path / "groups.yaml").write_text("pets: [cat]\n")
    for evaluate in (evaluate_run, evaluate_fully):
        with pytest.raises(RecipeError, match="'cat', which is no class"):
            evaluate(copied, "test", groups=tmp_path / "groups.yaml")
    assert len(copied.provenance()["test_openings"]) == 1


@pytest.mark.parametrize(
    ("split", "views"), [("train", 1), ("", 1), ("val", 3), ("val", 0), ("test", -1)]
)
def test_other_splits_and_views_are_refused(finished: RunFolder, split: str, views: int) -> None:
    with pytest.raises(RecipeError, match="can't evaluate"):
        evaluate_run(finished, split, views)


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no run folder"):
        evaluate_run(RunFolder(tmp_path / "nothing"))


def test_a_missing_checkpoint(copied: RunFolder) -> None:
    copied.weights("last").unlink()
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        evaluate_run(copied)


def copy_other_weights(folder: RunFolder, other: RunFolder) -> None:
    shutil.copyfile(other.weights("last"), folder.weights("last"))


def flip_a_bit(folder: RunFolder, _: RunFolder) -> None:
    content = bytearray(folder.weights("last").read_bytes())
    content[-5] ^= 1  # of a mantissa
    folder.weights("last").write_bytes(content)


USES: dict[str, Callable[[RunFolder], object]] = {
    "evaluate": evaluate_run,
    "full": evaluate_fully,
    "predict": RunPredictor,
    "explain": explain_run,
    "the page": lambda folder: Network(folder.path),
    "extend": lambda folder: resolve_request(
        "tiny", run=folder.path, extend="1 epoch", schedule="hold"
    ),
}


@pytest.fixture(scope="module")
def other_seed(tiny: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("other") / "run")
    train(tiny({"seed": 1}), folder)
    return folder


@pytest.mark.parametrize("change", [copy_other_weights, flip_a_bit])
@pytest.mark.parametrize("use", USES)
def test_weights_that_the_result_does_not_know_are_refused(
    copied: RunFolder, other_seed: RunFolder, change: Callable[..., None], use: str
) -> None:
    change(copied, other_seed)
    with pytest.raises(CheckpointError, match=r"last\.safetensors is not the file") as caught:
        USES[use](copied)
    command = re.search(r"cifarlab train (\S+) --run", caught.value.hint)
    assert command and find(command[1]) == copied.recipe()


def test_a_report_of_them_says_so(copied: RunFolder, other_seed: RunFolder) -> None:
    words = "checkpoints/last.safetensors is not the file that the run"
    assert words not in write_report([copied.path]).read_text()
    copy_other_weights(copied, other_seed)
    assert words in write_report([copied.path]).read_text()


def test_weights_of_an_unfinished_run_are_taken_as_they_are(copied: RunFolder) -> None:
    copied.result_file.unlink()
    flip_a_bit(copied, copied)
    assert evaluate_run(copied, "val")[0]["n"]


def test_nothing_held_out(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    folder = RunFolder(tmp_path / "run")
    recipe = tiny({"data.val_fraction": 0, "training.duration": "1 epoch"})
    result = train(recipe, folder)
    with pytest.raises(DataError, match=r"data\.val_fraction is 0"):
        evaluate_run(folder, "val")
    assert evaluate_run(folder, "test")[0] == result["test"]


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_kept_predictions_are_those_that_were_measured(finished: RunFolder, split: str) -> None:
    predictions = Predictions.read(finished.predictions / f"{split}.safetensors")
    result = finished.result()[split]
    assert len(predictions.labels) == result["n"]
    assert (predictions.logits.argmax(1) == predictions.labels).mean() == pytest.approx(
        result["accuracy"]
    )
    mistakes = np.flatnonzero(predictions.logits.argmax(1) != predictions.labels)
    probs = np.exp(predictions.logits.astype(float))
    probs /= probs.sum(1, keepdims=True)
    loss = -np.log(probs[np.arange(len(predictions.labels)), predictions.labels])
    worst = mistakes[np.argsort(-loss[mistakes])]
    surest = mistakes[np.argsort(-probs[mistakes].max(1))]
    assert set(predictions.mistakes) == {*worst[:100], *surest[:50]}
    assert (np.diff(loss[predictions.mistakes]) <= 1e-6).all()


def files_that_call(pattern: str) -> set[str]:
    return {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(pattern, line.partition("#")[0]) and not line.lstrip().startswith("def ")
    }


def test_one_function_opens_the_test_split() -> None:
    assert files_that_call(r"\btest_subset\(") == {"evaluation/test_split.py"}
    assert files_that_call(r"""\.read\(\s*["']test["']""") == {"data/splits.py"}
    openers = {"training/finish.py", "evaluation/run_evaluation.py", "audit/run_audit.py"}
    assert files_that_call(r"\bopen_test_split\(") == openers


def test_the_record_is_json_that_anybody_can_read(copied: RunFolder) -> None:
    evaluate_run(copied, "test", command="cifarlab evaluate 'a b'")
    content = json.loads(copied.provenance_file.read_text(encoding="utf-8"))
    assert content["test_openings"][-1]["command"] == "cifarlab evaluate 'a b'"
