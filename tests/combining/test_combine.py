"""An ensemble, a soup and a student are runs like any other, and say what they gain."""

import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp
from typer.testing import CliRunner

import cifarlab as lab
from cifarlab.cli import app
from cifarlab.combining.combine import CombineSession, combine_runs
from cifarlab.combining.gain import gain_over_mean
from cifarlab.combining.record import complete_record
from cifarlab.evaluation.run_evaluation import evaluate_run
from cifarlab.explain.maps import map_shapes
from cifarlab.exporting.export_run import check_export, export_run
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.run_predictor import predict_images
from cifarlab.inference.weights import WeightsFile
from cifarlab.recipes.text import fingerprint
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.predictions import Predictions
from cifarlab.stats.crossed import crossed_intervals
from cifarlab.stats.intervals import paired_gain
from cifarlab.system.errors import Interrupted, RecipeError, RunFolderError, UserError
from cifarlab.system.files import write_json
from cifarlab.training.train import train
from cifarlab_serve.exported import ExportedNetwork

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 1), np.uint8)


@pytest.fixture(scope="module")
def ensemble(seeds: list[Path], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return combine_runs(seeds, run=tmp_path_factory.mktemp("combined") / "ensemble")[0]


def read_right(path: Path, split: str = "val") -> np.ndarray:
    predictions = Predictions.read(path / "predictions" / f"{split}.safetensors")
    return predictions.logits.argmax(1) == predictions.labels


def test_an_ensemble_has_the_mean_of_its_members_probabilities(
    ensemble: RunFolder, seeds: list[Path]
) -> None:
    logits = [RunFolder(path).predictions / "val.safetensors" for path in seeds]
    by_member = np.stack([log_softmax(Predictions.read(f).logits, axis=1) for f in logits])
    expected = logsumexp(by_member, axis=0) - np.log(3)
    stored = Predictions.read(ensemble.predictions / "val.safetensors")
    assert np.allclose(stored.logits, expected, atol=1e-5)
    assert np.allclose(np.exp(stored.logits).sum(1), 1, atol=1e-5)


def test_its_file_is_all_that_predicts(ensemble: RunFolder, seeds: list[Path], tmp_path) -> None:
    file = shutil.copy(ensemble.measured_weights(), tmp_path / "moved.safetensors")
    logits = Predictor.load(Path(file)).logits(IMAGES)
    members = [Predictor.load(RunFolder(path).measured_weights()).logits(IMAGES) for path in seeds]
    assert torch.allclose(logits.softmax(1), torch.stack(members).softmax(2).mean(0), atol=1e-5)
    answer = predict_images(ensemble, IMAGES, coverage=0.9)
    assert answer.temperature == ensemble.result()["temperature"]["value"] != 1


def test_an_ensemble_is_exported_and_served_as_it_predicts(
    ensemble: RunFolder, tmp_path: Path
) -> None:
    exported = export_run(ensemble.path, out=tmp_path)
    assert check_export(exported.path, ensemble.path)["against_run"]["n_flips"] == 0
    network = ExportedNetwork(exported.path)
    expected = predict_images(ensemble, IMAGES).probabilities
    np.testing.assert_allclose(network.run(IMAGES), expected, atol=1e-5)
    assert network.identity["fingerprint"] == fingerprint(ensemble.recipe())


def test_members_with_other_networks_and_normalisations_are_joined(
    tiny, seeds: list[Path], tmp_path: Path
) -> None:
    other = tiny(
        {
            "model.kind": "cnn",
            "model.channels": [4],
            "model.hidden_features": 8,
            "data.normalization": "half",
            "training.duration": "4 steps",
            "evaluation.test": False,
        }
    )
    train(other, tmp_path / "cnn", callbacks=())
    folder, _ = combine_runs([seeds[0], tmp_path / "cnn"], run=tmp_path / "both")
    about, _ = WeightsFile.read(folder.measured_weights())
    assert [model.kind for model in (about.model, *about.other_models)] == ["resnet", "cnn"]
    logits = [
        Predictor.load(RunFolder(p).measured_weights()).logits(IMAGES)
        for p in (seeds[0], tmp_path / "cnn")
    ]
    mean = torch.stack(logits).softmax(2).mean(0)
    ours = Predictor.load(folder.measured_weights()).logits(IMAGES)
    assert torch.allclose(ours.softmax(1), mean, atol=1e-5)
    exported = export_run(folder.path, "torch", out=tmp_path / "export")
    assert exported.certificate["against_run"]["n_flips"] == 0


def test_the_gain_is_paired_by_image(ensemble: RunFolder, seeds: list[Path]) -> None:
    row = ensemble.result()["combination"]["gain"]["val"]
    ours, base = read_right(ensemble.path), np.stack([read_right(path) for path in seeds])
    assert row["members"] == base.mean(1).tolist()
    assert row["accuracy"] == ours.mean()
    expected = crossed_intervals((ours - base.mean(0))[None])
    assert row["over_mean"]["gain"] == pytest.approx(ours.mean() - base.mean())
    assert row["over_mean"]["interval"] == list(expected.images)
    best = int(base.mean(1).argmax())
    assert row["over_best"]["run"] == str(seeds[best].resolve())
    assert row["over_best"]["interval"] == paired_gain(ours, base[best])["interval"]
    assert row["over_best"]["selected_by"] == "val"
    cost = ensemble.result()["combination"]["cost"]
    assert cost["ratio"] > 1
    result = ensemble.result()
    assert any("over its members' mean" in note for note in result["notes"])
    assert any("by val (95 % interval" in n and "flatters" in n for n in result["notes"])
    seconds = sum(RunFolder(path).result()["cost"]["train_seconds"] for path in seeds)
    assert result["cost"]["train_seconds"] == cost["train_seconds"] == pytest.approx(seconds)
    assert result["epochs"] is None


def test_provenance_names_the_members(ensemble: RunFolder, seeds: list[Path]) -> None:
    provenance = ensemble.provenance()
    assert [m["run"] for m in provenance["members"]] == [str(path.resolve()) for path in seeds]
    recipes = [RunFolder(path).recipe() for path in seeds]
    assert [m["fingerprint"] for m in provenance["members"]] == [*map(fingerprint, recipes)]
    assert provenance["same_training_images"] is True
    assert provenance["starts"][0]["command"] == "cifarlab.combine"


def test_the_test_split_stays_closed_by_default(
    ensemble: RunFolder, seeds: list[Path], tmp_path: Path
) -> None:
    assert "test" not in ensemble.result()
    assert ensemble.provenance()["test_openings"] == []
    copies = [Path(shutil.copytree(path, tmp_path / path.name)) for path in seeds]
    folder, _ = combine_runs(copies, run=tmp_path / "ensemble", test=True)
    assert folder.result()["combination"]["gain"]["test"]["n"] == 359
    for path in (folder.path, *copies):
        (opening,) = RunFolder(path).provenance()["test_openings"]
        assert opening["command"] == "cifarlab.combine"
    student, _ = combine_runs(copies, "distilled", run=tmp_path / "student", test=True)
    assert student.result()["combination"]["gain"]["test"]["over_teacher"]
    for path in copies:  # once by the ensemble, once by student and teacher
        assert len(RunFolder(path).provenance()["test_openings"]) == 2
    accuracies = folder.result()["combination"]["gain"]["test"]["members"]
    assert accuracies[1] == evaluate_run(RunFolder(copies[1]), "test")[0]["accuracy"]


def test_a_combination_is_no_recipe_to_train(ensemble: RunFolder, seeds, tmp_path: Path) -> None:
    recipe = ensemble.recipe()
    assert fingerprint(recipe) != fingerprint(RunFolder(seeds[0]).recipe())
    with pytest.raises(RecipeError, match="is the ensemble of other runs: it is not trained"):
        train(recipe, tmp_path / "anew")
    words = ["train", recipe.name, "--run", str(ensemble.path), "--extend", "1 epoch"]
    outcome = CliRunner().invoke(app, [*words, "--schedule", "hold"])
    assert isinstance(outcome.exception, RecipeError)
    assert not list(ensemble.path.parent.glob("*hold"))
    with pytest.raises(UserError, match="is a combination itself"):
        combine_runs([ensemble.path, seeds[0]], run=tmp_path / "twice")
    with pytest.raises(RunFolderError, match="holds a run already"):
        combine_runs(seeds, run=ensemble.path)


def test_an_ensemble_is_explained_by_member(ensemble: RunFolder) -> None:
    layers = map_shapes(Predictor.load(ensemble.measured_weights()))
    assert list(layers) == ["members.0", "members.1", "members.2"]


def test_a_soup_of_seeds_is_refused_with_figures(seeds: list[Path], tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"this soup is worse than its members' mean: on 144"
    ) as error:
        combine_runs(seeds, "soup", run=tmp_path / "soup")
    assert "rarely average into anything" in error.value.hint
    assert not (tmp_path / "soup").exists()


def test_a_soup_of_siblings_is_their_mean_with_new_statistics(
    siblings: list[Path], tmp_path: Path
) -> None:
    folder, lines = combine_runs(siblings, "soup", run=tmp_path / "soup")
    tensors = [
        WeightsFile.read(RunFolder(p).measured_weights())[1] for p in (*siblings, folder.path)
    ]
    head = next(name for name in tensors[0] if name.endswith("head.weight"))
    assert torch.allclose(tensors[2][head], (tensors[0][head] + tensors[1][head]) / 2)
    running = next(name for name in tensors[0] if name.endswith("running_var"))
    assert not torch.allclose(tensors[2][running], (tensors[0][running] + tensors[1][running]) / 2)
    row = folder.result()["combination"]["gain"]["val"]
    assert row["over_mean"]["gain"] >= 0
    assert any("below the mean here it would have been refused" in line for line in lines)
    assert folder.recipe().combination.method == "soup"


def test_a_student_is_a_run_with_a_teacher(seeds: list[Path], tmp_path: Path) -> None:
    folder, lines = combine_runs(seeds, "distilled", run=tmp_path / "student")
    settings = folder.recipe().training.distillation
    assert Path(settings.teacher) == (tmp_path / "student-teacher").resolve()
    assert folder.result()["combination"]["method"] == "distilled"
    assert folder.recipe().combination is None
    assert lines[0].startswith("one run of one seed, distilled from 3 runs")
    plain = RunFolder(seeds[0])
    assert folder.recipe().model == plain.recipe().model
    assert folder.metrics.read()[0]["train"] != plain.metrics.read()[0]["train"]
    over_teacher = folder.result()["combination"]["gain"]["val"]["over_teacher"]
    right, taught = read_right(folder.path), read_right(Path(settings.teacher))
    assert over_teacher == {"run": settings.teacher, **paired_gain(right, taught)}
    assert any("over its teacher" in line for line in lines)
    teacher = RunFolder(settings.teacher).result()["combination"]
    assert (
        teacher["gain"]["val"]["members"]
        == folder.result()["combination"]["gain"]["val"]["members"]
    )


def test_a_student_that_was_interrupted_says_what_it_gains_when_it_has_ended(
    seeds: list[Path], tmp_path: Path, signal_after
) -> None:
    folder = RunFolder(tmp_path / "student")
    session = CombineSession(callbacks=[signal_after(15)])
    with pytest.raises(Interrupted) as error:
        combine_runs(seeds[:2], "distilled", run=folder.path, session=session)
    words = ["train", "tiny-distilled", "--run", str(folder.path), "--resume"]
    assert shlex.join(["cifarlab", *words]) in error.value.hint
    outcome = CliRunner().invoke(app, words)
    assert outcome.exit_code == 0, outcome.output
    result, provenance = folder.result(), folder.provenance()
    record = result["combination"]
    assert (record["method"], record["members"]) == ("distilled", provenance["members"])
    assert [m["run"] for m in record["members"]] == [str(path.resolve()) for path in seeds[:2]]
    assert record["gain"]["val"]["accuracy"] == result["val"]["accuracy"]
    assert [note for note in result["notes"] if "distilled from 2 runs" in note]
    complete_record(folder, "again")
    assert folder.result() == result
    del result["combination"], provenance["members"][0]["seed"]
    folder.write_result(result)
    folder.write_provenance(provenance)
    with pytest.raises(RunFolderError, match="were trained again since it was made"):
        complete_record(folder, "again")


class Killed(BaseException):
    """The end of a process, wherever it was."""


def die(*_: Any, **__: Any) -> None:
    raise Killed


@pytest.mark.parametrize("step", ["prepare", "record_members", "finish", "record_gain"])
def test_an_ensemble_that_was_killed_is_made_whole_by_the_same_command(
    ensemble: RunFolder, seeds: list[Path], tmp_path: Path, monkeypatch, step: str
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(f"cifarlab.combining.combine.{step}", die)
        combine_runs(seeds, run=tmp_path / "killed")
    folder, lines = combine_runs(seeds, run=tmp_path / "killed")
    assert lines
    members = folder.provenance()["members"]
    assert members == ensemble.provenance()["members"]
    assert folder.result()["combination"]["gain"] == ensemble.result()["combination"]["gain"]
    with pytest.raises(RunFolderError, match="holds a run already"):
        combine_runs(seeds, run=folder.path)


@pytest.mark.parametrize("step", ["train", "record_members", "record_gain"])
def test_a_student_that_was_killed_goes_on_and_keeps_its_teacher(
    seeds: list[Path], tmp_path: Path, monkeypatch, step: str
) -> None:
    path, teacher = tmp_path / "student", tmp_path / "student-teacher"
    combine_runs(seeds[:2], run=teacher)
    before = RunFolder(teacher).result()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(f"cifarlab.combining.combine.{step}", die)
        combine_runs(seeds[:2], "distilled", run=path)
    folder, _ = combine_runs(seeds[:2], "distilled", run=path)
    assert RunFolder(teacher).result() == before
    assert len(folder.provenance()["members"]) == 2
    assert folder.result()["combination"]["gain"]["val"]["over_teacher"]


def test_folders_are_looked_at_before_anything_is_made(
    tiny, seeds: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(RunFolderError, match="holds other files already"):
        combine_runs(seeds, "distilled", run=tmp_path / "other")
    taught = {"training.distillation": {"teacher": str(seeds[0]), "weights_sha256": "0" * 64}}
    RunFolder(tmp_path / "taught").write_recipe(tiny(taught))
    with pytest.raises(RunFolderError, match="taught holds a run already"):
        combine_runs(seeds, "distilled", run=tmp_path / "taught")
    shutil.copytree(seeds[0], tmp_path / "student-teacher")
    with pytest.raises(RunFolderError, match="student-teacher holds a run already"):
        combine_runs(seeds, "distilled", run=tmp_path / "student")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "student-teacher", "taught"]


def test_without_validation_images_the_lines_say_what_is_not_known(tiny, tmp_path: Path) -> None:
    changes = {"data.val_fraction": 0.0, "training.duration": "1 steps", "evaluation.test": False}
    paths = [tmp_path / f"s{seed}" for seed in (0, 1)]
    for seed, path in enumerate(paths):
        train(tiny(changes | {"seed": seed}), path, callbacks=())
    _, lines = combine_runs(paths, run=tmp_path / "a")
    assert lines[1].startswith("no gain was measured: nothing was held out")
    _, lines = combine_runs(paths, run=tmp_path / "b", test=True)
    assert "over the best by test" in lines[1]
    assert "whose choice on these same images flatters it" in lines[1]


def test_one_validation_image_has_a_gain_without_an_interval() -> None:
    row = gain_over_mean(np.array([True]), np.array([[True], [False]]))
    assert row == {"gain": 0.5, "interval": None}


def test_a_study_gives_a_row(seeds: list[Path], tmp_path: Path) -> None:
    """Which one: tests/experiments/study/test_study_finished_runs.py."""
    runs = [{"row": "a", "seed": seed, "run": str(path)} for seed, path in enumerate(seeds[:2])]
    runs.append({"row": "a", "seed": 2, "run": str(tmp_path / "unfinished")})
    write_json(tmp_path / "study" / "study.json", {"format": 1, "runs": runs})
    folder, lines = combine_runs([tmp_path / "study"], run=tmp_path / "ensemble")
    assert lines[0].startswith("ensemble of 2 runs")
    assert lines[1].endswith("(the only one): 2 of 3 runs have finished")
    [choice] = folder.result()["combination"]["choices"]
    assert (choice["row"], choice["n_finished"], choice["n_runs"]) == ("a", 2, 3)
    assert folder.provenance()["choices"] == [choice]
    assert [m["seed"] for m in folder.provenance()["members"]] == [0, 1]


def test_from_python_and_from_the_command_line(seeds: list[Path], tmp_path: Path) -> None:
    run = lab.combine([lab.load_run(seeds[0]), seeds[1]], run=tmp_path / "a")
    assert run.result["combination"]["method"] == "ensemble"
    words = ["combine", *map(str, seeds[:2]), "--run", str(tmp_path / "b")]
    outcome = CliRunner().invoke(app, words)
    assert outcome.exit_code == 0, outcome.output
    assert "over its members' mean" in outcome.output
    command = RunFolder(tmp_path / "b").provenance()["starts"][0]["command"]
    assert command.startswith("cifarlab")
    logits = [RunFolder(tmp_path / n).predictions / "val.safetensors" for n in "ab"]
    assert np.array_equal(*(Predictions.read(file).logits for file in logits))


def test_the_gain_is_recorded_while_the_folder_is_held(
    seeds: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record(folder: RunFolder, *_: object) -> list[str]:
        with pytest.raises(RunFolderError, match="in use by another process"), folder.lock():
            pass
        return ["held"]

    monkeypatch.setattr("cifarlab.combining.combine.record_gain", record)
    for method in ("ensemble", "distilled"):
        _, lines = combine_runs(seeds[:2], method, run=tmp_path / method)
        assert lines == ["held"]
