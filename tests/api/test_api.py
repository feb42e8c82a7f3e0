"""The public face: ``import cifarlab as lab``."""

import hashlib
import inspect
import rlcompleter
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import cifarlab as lab
from cifarlab.config.plugins import Plugin
from cifarlab.experiments.placement import Placement
from cifarlab.experiments.search.engine import run_search
from cifarlab.experiments.study.engine import run_study
from cifarlab.plots.catalog import FIGURES
from cifarlab.run_folder.index import RunIndex
from cifarlab.system.errors import DataError, PluginError, RunFolderError, UserError

SHORT = {"training.duration": "2 epochs"}
HIDDEN = {"command", "train", "placement"}  # of the engines


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs of two recipes on the digits."""
    folder = tmp_path_factory.mktemp("runs")
    for name, changes in (("a", {}), ("b", {"optimizer.lr": 0.01}), ("c", {"seed": 1})):
        lab.train("quickstart", {**SHORT, **changes}, run=folder / name, callbacks=())
    return folder


def test_importing_brings_neither_torch_nor_pydantic() -> None:
    code = "import sys, cifarlab; print(sorted({'torch', 'pydantic', 'numpy'} & set(sys.modules)))"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, check=True, text=True).stdout == "[]\n"


def test_every_name_is_there_and_completes() -> None:
    names = {"train", "load_run", "runs", "compare", "study", "search", "predict", "Recipe"}
    assert names <= set(dir(lab)) and dir(lab) == lab.__all__
    assert all(getattr(lab, name).__module__.startswith("cifarlab.") for name in dir(lab))
    with pytest.raises(AttributeError, match="trian"):
        _ = lab.trian


def test_a_run_shows_what_it_is(runs: Path) -> None:
    run = lab.load_run(runs / "a")
    assert run.accuracy is not None and run.accuracy == run.result["test"]["accuracy"] > 0.5
    assert repr(run).startswith(f"<TrainedRun {runs / 'a'}: quickstart on digits, test accuracy ")
    assert (
        list(run.history["epoch"]) == [1, 2] and run.history["train.loss"].is_monotonic_decreasing
    )
    assert f"<td>{100 * run.accuracy:.2f}\u00a0%</td>" in run._repr_html_()
    with pytest.raises(RunFolderError):
        lab.load_run(runs)


def test_figures_are_returned_and_draw_the_run(runs: Path) -> None:
    plot = lab.load_run(runs / "a").plot
    assert dir(plot) == sorted(FIGURES) and plot.curves.__doc__ == f"{FIGURES['curves'][1]}."
    names = {name for name in dir(plot) if (figure := getattr(plot, name)()) and figure.axes}
    assert {"curves", "confusion", "classes", "mistakes", "reliability"} <= names
    assert plot.weights() is None  # nothing was recorded
    both = lab.runs(runs).plot.curves()
    assert both is not None and len(both.axes[0].get_lines()) >= 3
    with pytest.raises(AttributeError, match="no figure 'curve'"):
        _ = plot.curve


def test_figures_complete_where_no_code_is_run(runs: Path) -> None:
    """IPython's completer looks at attributes and calls no property."""
    run, table = lab.load_run(runs / "a"), lab.runs(runs)
    for view in (run, table, lab.compare(run)):
        assert "plot" in vars(view) and not isinstance(vars(type(view)).get("plot"), property)
    completer = rlcompleter.Completer({"run": run})
    completions = [completer.complete("run.plot.", n) or "" for n in range(len(FIGURES))]
    assert {text.rstrip("()").removeprefix("run.plot.") for text in completions} == set(FIGURES)


def test_the_options_of_a_study_and_a_search_complete() -> None:
    """IPython reads name, signature and docstring: the engines', and what people may give alone."""
    expected = {"study": (lab.study, run_study), "search": (lab.search, run_search)}
    for name, (function, engine) in expected.items():
        assert (function.__name__, function.__qualname__) == (name, name)
        shown, engine_options = inspect.signature(function), inspect.signature(engine).parameters
        more = {*Placement._fields, "plugins", "trust_plugins"}
        assert set(shown.parameters) == {*engine_options, *more} - HIDDEN
        assert shown.return_annotation is {"study": lab.ComparisonTable}.get(name, lab.SearchTable)
        docstring = inspect.getdoc(function) or ""
        assert all(f"    {option}: " in docstring for option in shown.parameters)
        assert not any(f"    {option}: " in docstring for option in HIDDEN)
        with pytest.raises(TypeError, match="command"):
            function(name, command="mine")


def test_a_run_shows_what_it_has_trained_so_far(runs: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(runs / "a", tmp_path / "run"))
    result, metrics = path / "result.json", path / "metrics.jsonl"
    stored, lines = result.read_text(), metrics.read_text().splitlines(keepends=True)
    result.unlink()
    metrics.write_text(lines[0])
    run = lab.load_run(path)
    assert len(run.history) == 1 and run.accuracy is None and "1 epochs so far" in repr(run)
    metrics.write_text("".join(lines))
    result.write_text(stored)
    assert len(run.history) == 2 and run.accuracy and run.result and "accuracy" in repr(run)


def test_images_of_another_size_are_predicted(runs: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 12), np.uint8)
    file = tmp_path / "one.png"
    Image.fromarray(images[0]).save(file)
    with pytest.raises(DataError, match="resize_mode=crop"):
        lab.predict(runs / "a", images)
    with pytest.raises(UserError, match="no resize mode 'bend'"):
        lab.predict(runs / "a", images, resize_mode="bend")
    cropped = lab.predict(runs / "a", images, resize_mode="crop")
    stretched = lab.load_run(runs / "a").predict(images, resize_mode="stretch")
    assert cropped.shape == (2, 10) and not np.array_equal(cropped, stretched)
    by_file = lab.predict(runs / "a", file, resize_mode="crop")
    np.testing.assert_allclose(by_file.to_numpy()[0], cropped.to_numpy()[0], rtol=1e-6)


def test_a_run_is_measured_anew(runs: Path) -> None:
    evaluation, result = lab.evaluate(runs / "a"), lab.load_run(runs / "a").result["val"]
    assert evaluation.accuracy == result["accuracy"] and evaluation.interval == result["interval"]
    assert {"split", "data", *result} <= set(dir(evaluation))
    assert repr(evaluation).startswith("<Evaluation: val accuracy ")
    assert list(evaluation.frame.index) == [str(n) for n in range(10)]
    assert "val accuracy" in evaluation._repr_html_() and "<table" in evaluation._repr_html_()
    assert lab.evaluate(runs / "a", tta_views=2).loss != evaluation.loss


def test_predictions_are_those_of_the_run(runs: Path) -> None:
    from cifarlab.data.opening import open_dataset
    from cifarlab.inference.run_predictor import RunPredictor
    from cifarlab.run_folder.folder import RunFolder

    images = np.array(open_dataset("digits").read("train").images[:7])
    predictions = lab.load_run(runs / "a").predict(images)
    predictor = RunPredictor(RunFolder(runs / "a"))
    assert predictions.shape == (7, 10) and list(predictions.columns) == [str(n) for n in range(10)]
    assert np.array_equal(
        predictions.to_numpy(), predictor.predict(predictor.read(images)).probabilities
    )
    grey = lab.predict(runs / "a", images[..., 0])
    assert np.array_equal(grey.to_numpy(), predictions.to_numpy())
    with pytest.raises(DataError, match="float64"):
        lab.predict(runs / "a", images / 255)


def test_runs_are_a_table(runs: Path) -> None:
    table = lab.runs(runs)
    assert len(table) == 3 and [run.path.name for run in table] == ["a", "b", "c"]
    assert list(table.frame["seed"]) == [0, 0, 1] and table.frame["finished"].all()
    assert len(table[1:]) == 2 and table._repr_html_().count("<td>quickstart</td>") == 3
    assert table.left_out == [] and repr(table) == "<RunTable of 3 runs>"


def bring_plugin(run: Path, source: bytes) -> None:
    """Make a run one of somebody else's, whose recipe names a plug-in file."""
    plugin = Plugin(file="theirs.py", sha256=hashlib.sha256(source).hexdigest())
    (run / "plugins").mkdir()
    (run / "plugins" / plugin.copy_name).write_bytes(source)
    tree = yaml.safe_load((run / "recipe.yaml").read_text())
    tree["plugins"] = [plugin.model_dump()]
    (run / "recipe.yaml").write_text(yaml.safe_dump(tree))


def test_runs_are_chosen_by_a_condition_and_removed(runs: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(runs / name, tmp_path / name)
    table = lab.runs(tmp_path, "seed >= 0 and val > 0", sort="-val.accuracy")
    accuracies = list(table.frame["val"])
    assert len(table) == 2 and accuracies == sorted(accuracies, reverse=True)
    assert set(table.frame["group"]) == {run.group for run in RunIndex(tmp_path).listing().runs}
    with pytest.raises(UserError, match="no run has the key lr"):
        lab.runs(tmp_path, "lr > 0")
    plan = lab.remove_runs(table, keep="weights", folder=tmp_path, dry_run=True)
    assert "would be deleted" in repr(plan) and plan.n_bytes > 0 and len(plan.frame) == 2
    assert lab.load_run(tmp_path / "a").folder.weights("last.state").exists()
    lab.remove_runs([tmp_path / "a"], folder=tmp_path)
    assert [run.path.name for run in lab.runs(tmp_path)] == ["b"]


def test_a_table_leaves_out_what_can_t_be_read_and_says_why(runs: Path, tmp_path: Path) -> None:
    for name in ("whole", "damaged", "foreign"):
        shutil.copytree(runs / "a", tmp_path / name)
    (tmp_path / "damaged" / "result.json").write_text("{")
    bring_plugin(tmp_path / "foreign", b"theirs = 1\n")
    (tmp_path / "stray").mkdir()
    (tmp_path / "stray" / "recipe.yaml").write_text("name: <b>\n")
    table = lab.runs(tmp_path)
    assert [run.path.name for run in table] == ["whole"] and list(table.frame["run"]) == ["whole"]
    reasons = dict(zip(("damaged", "foreign", "stray"), table.left_out, strict=True))
    assert all(note.startswith(f"{name} is left out: ") for name, note in reasons.items())
    assert "result.json" in reasons["damaged"] and "trust_plugins=True" in reasons["foreign"]
    assert repr(table).splitlines()[1:] == table.left_out
    assert table._repr_html_().count("<p>") == 3
    all_runs = lab.runs(tmp_path, trust_plugins=True)
    assert [run.path.name for run in all_runs] == ["foreign", "whole"]


def test_a_run_with_plug_ins_is_opened_with_consent_alone(runs: Path, tmp_path: Path) -> None:
    run = shutil.copytree(runs / "a", tmp_path / "sent")
    bring_plugin(run, b"theirs = 2\n")
    images = np.zeros((1, 8, 8), np.uint8)
    for read in (
        lambda: lab.load_run(run),
        lambda: lab.predict(run, images),
        lambda: lab.evaluate(run),
        lambda: lab.compare(run),
    ):
        with pytest.raises(PluginError, match="in Python trust_plugins=True"):
            read()
    assert lab.load_run(run, trust_plugins=True).accuracy == lab.load_run(runs / "a").accuracy
    assert len(lab.predict(run, images)) == 1  # it was approved once


def test_runs_are_compared_by_recipe(runs: Path) -> None:
    comparison = lab.compare(lab.load_run(runs / "a"), runs / "b", runs / "c")
    assert len(comparison.frame) == 2 and set(comparison.verdicts) == set(comparison.frame.index)
    assert repr(comparison).startswith("<ComparisonTable with ")
    html = comparison._repr_html_()  # heading, table, notes and figure: what a notebook shows
    for words in (
        "paired by seed",
        "p (Holm)",
        "Not all rows have the same number of runs",
        "<img",
    ):
        assert words in html
    by_loss = lab.compare(runs / "a", runs / "b", metric="log_loss")
    assert by_loss.comparison.metric.name == "log_loss"
    assert by_loss.flips.empty and by_loss.intervals.empty and by_loss.margins.empty


def test_runs_are_compared_image_by_image(runs: Path) -> None:
    comparison = lab.compare(runs / "a", runs / "b", by="image", margin=0.2)
    row = comparison.comparison.rows[1]
    assert list(comparison.intervals.index) == [row.name]  # one pair says nothing of seeds
    flips = comparison.flips
    assert list(flips["class"]) == [str(digit) for digit in range(10)]
    net = flips["n_gained"].sum() - flips["n_lost"].sum()
    assert net / flips["n_images"].sum() == pytest.approx(row.pairs.difference.mean)
    assert list(comparison.margins.index) == [row.name]
    assert comparison.plot.flips() is not None and comparison.plot.intervals() is not None


def test_a_study_and_what_came_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(
        "name: mine\nabout: Does a lower learning rate cost anything?\n"
        "overrides: {training.duration: 2 epochs}\nn_seeds: 2\n"
        "rows:\n- {name: usual, recipe: quickstart}\n"
        "- {name: low, recipe: quickstart, overrides: {optimizer.lr: 0.001}}\n"
    )
    study = lab.study("mine.yaml")
    assert list(study.frame.index) == ["usual", "low"] and set(study.verdicts) == {"usual", "low"}
    assert study.path is not None and len(lab.runs(study.path)) == 4
    figure = study.plot.figure()
    assert figure is not None and len(figure.axes) == 2


def test_a_search_and_what_came_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    search = lab.Search(
        name="rates",
        recipe="quickstart",
        trials=2,
        max_epochs="2 epochs",
        space={"optimizer.lr": {"kind": "loguniform", "low": 0.01, "high": 0.3}},
    )
    table = lab.search(search, max_time="1 h", log=lambda line: None)
    assert len(table.frame) == 2 and repr(table).startswith(f"<SearchTable {table.path}: 2 trials")
    best = table.results.best_row
    assert best and table.best.optimizer.lr == best.params["optimizer.lr"]
    assert dir(table.plot) == ["coordinates", "curves", "importance", "rungs"]
    figure = table.plot.curves()
    assert figure is not None and figure.axes and "<table" in table._repr_html_()
