"""Runs with parts missing, several runs, wrong folders, a missing extra."""

import json

import pytest
from made_run import Plan, digits, make
from page_parser import read

from cifarlab.experiments.study.outcomes import compare_runs
from cifarlab.experiments.study.report import compare_for_report
from cifarlab.report.write import write_report
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import RunFolderError, StorageError
from cifarlab.system.formatting import p_value


def edit(path, **changes):
    content = json.loads(path.read_text())
    for key, value in changes.items():
        if value is None:
            content.pop(key, None)
        else:
            content[key] = value
    path.write_text(json.dumps(content))


def test_unfinished_run_shows_what_is_there(tmp_path):
    path = make(tmp_path / "run", Plan(finished=False))
    page = read(write_report([path]))
    last = RunFolder(path).metrics.read()[-1]
    assert "unfinished: 4 epochs so far" in page.text
    accuracy = f"{100 * last['val']['accuracy']:.2f} % after epoch 4"
    assert f"Validation accuracy so far, CIFAR-10 {accuracy}" in page.text
    assert "Test accuracy" not in page.text and "worst mistakes" not in page.text
    assert "none: the test split was not opened" in page.text
    assert [f.name for f in (path / "report/figures").glob("*.svg")] == ["run-curves.svg"]


def test_run_that_has_only_begun(tmp_path):
    path = make(tmp_path / "run", Plan(finished=False, epochs=0))
    (path / "provenance.json").unlink()
    page = read(write_report([path]))
    assert "unfinished: 0 epochs so far" in page.text and "not recorded" in page.text
    assert "made/up · cifar10" in page.text
    assert not (path / "report" / "figures").exists()


def test_run_of_one_epoch_without_validation(tmp_path):
    page = read(write_report([make(tmp_path / "run", Plan(val=False, epochs=1, n=200))]))
    assert "held no validation images out" in page.text
    assert "Validation accuracy" not in page.text and "Best epoch" not in page.text
    assert "worst mistakes of the test split" in page.text


def test_run_without_test_falls_back_to_validation_and_says_so(tmp_path):
    page = read(write_report([make(tmp_path / "run", Plan(test=False))]))
    assert "the test file is gone: no test result" in page.text
    assert "Test accuracy" not in page.text
    assert "The 25 worst mistakes of the validation split" in page.text
    assert "Confusion matrix, validation split of CIFAR-10" in page.text


def test_whatever_is_missing_is_left_out(tmp_path):
    path = make(tmp_path / "run", Plan(n=200))
    split = {
        "n": 200,
        "accuracy": 0.5,
        "confusion_matrix": [[1, 2], [3]],
        "per_class": [{"class": "a"}],
    }
    edit(
        path / "result.json",
        test=split,
        val="?",
        cost=None,
        best=None,
        evaluated=3,
        fingerprint=None,
        notes=None,
        parameters=None,
        data=None,
    )
    edit(
        path / "provenance.json",
        device="a box",
        data={},
        libraries=None,
        test_openings=[],
        more={"a": [1, {"b": None}]},
    )
    page = read(write_report([path]))
    assert "50.00 % 95 % interval —, n = 200" in page.text and "Device a box" in page.text
    assert ["more: a", "1, b —"] in page.tables["provenance"]
    edit(path / "result.json", test=None)
    (path / "predictions" / "test.safetensors").unlink()
    (path / "predictions" / "val.safetensors").unlink()
    assert "no test result" in read(write_report([path])).text


def test_empty_result_and_provenance(tmp_path):
    path = make(tmp_path / "run", Plan(n=200))
    (path / "result.json").write_text("{}")
    (path / "provenance.json").write_text("{}")
    assert "finished" in read(write_report([path])).text


def test_damaged_predictions_cost_the_pictures_only(tmp_path):
    path = make(tmp_path / "run", Plan(n=200))
    (path / "predictions" / "test.safetensors").write_bytes(b"no tensors")
    page = read(write_report([path]))
    assert "can't read predictions test.safetensors" in page.text
    assert "worst mistakes" not in page.text and "Test accuracy" in page.text


def test_perfect_run(tmp_path):
    page = read(write_report([make(tmp_path / "run", Plan(n=100, skill=90.0))]))
    assert "100.00 %" in page.text and "No mistake was made on the test split" in page.text


def test_recipes_are_compared_image_by_image(tmp_path):
    slow = (("optimizer.lr", 0.01),)
    plans = [Plan(n=400, seed=seed, skill=4.5) for seed in range(3)]
    plans += [Plan(n=400, seed=seed, skill=3.0, changes=slow) for seed in range(3)]
    paths = [make(tmp_path / str(number), plan) for number, plan in enumerate(plans)]
    page = read(write_report(paths, tmp_path / "all.html", compare=compare_for_report))
    accuracies = [RunFolder(path).result()["test"]["accuracy"] for path in paths]
    difference = f"{100 * (sum(accuracies[3:]) - sum(accuracies[:3])) / 3:+.2f}"
    assert [row[1:3] for row in page.tables["intervals"][1:]] == [
        ["these test images, other seeds", difference],
        ["these runs, other images like these", difference],
        ["other seeds and other images", difference],
    ]
    assert len(page.tables["flips"]) == 11 and page.tables["flips"][1][:2] == ["airplane", "40"]
    comparison = compare_runs([*map(str, paths)], by="image", runs=tmp_path)
    ((images,), (_, row)) = comparison.by_image, comparison.rows
    words = f"{row.name} against {comparison.baseline}, image by image: 3 pairs of runs, 400 test"
    assert words in page.text and row.name == "made/up 3"
    assert page.tables["verdicts"][2][-1] == row.verdict
    assert page.tables["intervals"][1][3] == page.tables["verdicts"][2][6]  # one question
    assert page.tables["intervals"][3][4] == p_value(images.p)
    assert "No plan holds here" in page.text
    figures = {file.name for file in (tmp_path / "figures").iterdir()}
    kinds = {"curves", "figure", "evidence", "flips", "intervals"}
    assert {f"comparison-{kind}.svg" for kind in kinds} <= figures
    (paths[3] / "predictions" / "test.safetensors").write_bytes(b"torn")
    page = read(write_report(paths, tmp_path / "again.html", compare=compare_for_report))
    assert "intervals" not in page.tables and "6 runs compared" in page.text
    assert "These runs can't be compared here: can't read predictions" in page.text


def test_several_runs_are_compared(tmp_path):
    names = {
        "a": Plan(n=200),
        "b": Plan(n=200, seed=1),
        "c": Plan(n=200, finished=False, changes=(("optimizer.kind", "adamw"),)),
    }
    paths = [make(tmp_path / name, plan) for name, plan in names.items()]
    page = read(write_report([*paths, str(paths[0])], tmp_path / "all.html"))
    rows = page.tables["comparison"][1:]
    result = RunFolder(paths[1]).result()
    low, high = (100 * end for end in result["test"]["interval"])
    assert rows[1] == [
        "b",
        "made/up",
        "1",
        "CIFAR-10",
        f"{100 * result['val']['accuracy']:.2f} %",
        f"{100 * result['test']['accuracy']:.2f} %",
        f"{low:.2f}–{high:.2f} %",
        "200",
        "6 min 52 s",
        "4,903,242",
        "finished",
    ]
    assert len(rows) == 3 and rows[2][-1] == "unfinished: 4 epochs so far" and rows[2][5] == "—"
    differing = {row[0]: row[1:] for row in page.tables["differences"][1:]}
    assert differing["seed"] == ["0", "1", "0"]
    assert differing["optimizer.kind"] == ["sgd", "sgd", "adamw"]
    assert differing["optimizer.momentum"] == ["0.9", "0.9", "—"]
    assert "data.source" not in differing and "name" not in differing
    assert "different data" not in page.text
    assert (tmp_path / "figures" / "comparison-curves.svg").exists()
    assert {"#run-1", "#run-2", "#run-3"} <= set(page.addresses) and page.unclosed == []


def test_different_data_are_warned_about(tmp_path):
    unequal = [
        make(tmp_path / "a", Plan(finished=False)),
        make(tmp_path / "b", digits(finished=False)),
    ]
    assert (
        "different data (CIFAR-10, digits)" in read(write_report(unequal, tmp_path / "x.html")).text
    )
    other = make(tmp_path / "c", Plan(finished=False))
    provenance = json.loads((other / "provenance.json").read_text())
    edit(other / "provenance.json", data=provenance["data"] | {"fingerprint": "another"})
    text = read(write_report([unequal[0], other], tmp_path / "y.html")).text
    assert "the data's fingerprints differ" in text and "different data" not in text


@pytest.mark.parametrize(("split", "word"), [("test", "test"), ("val", "validation")])
def test_runs_measured_on_different_images_are_warned_about(tmp_path, split, word):
    runs = [make(tmp_path / name, Plan()) for name in "ab"]
    assert "images differ" not in read(write_report(runs, tmp_path / "x.html")).text
    for run in runs:
        result = json.loads((run / "result.json").read_text())
        edit(run / "result.json", **{split: result[split] | {"fingerprint": run.name}})
    text = read(write_report(runs, tmp_path / "y.html")).text
    assert (
        f"The {word} images differ between runs: see data.split_seed and data.{split}_fraction."
        in text
    )
    edit(runs[0] / "result.json", **{split: result[split] | {"n": 7}})
    text = read(write_report(runs, tmp_path / "z.html")).text
    assert f"The {word} splits differ in size" in text


@pytest.mark.parametrize(
    ("stop_reason", "words"),
    [("max_time", "ended by its time limit"), ("stopped", "stopped by a search")],
)
def test_a_run_that_something_ended_early_says_so_alone_and_beside_others(
    tmp_path, stop_reason, words
):
    early, finished = (
        make(tmp_path / "e", Plan(stop_reason=stop_reason)),
        make(tmp_path / "w", Plan(seed=1)),
    )
    assert f"This run was {words} after 8 epochs" in read(write_report([early])).text
    text = read(write_report([early, finished], tmp_path / "x.html")).text
    assert f"Not what their recipes give, since they were ended before: e {words}" in text
    assert words not in read(write_report([finished])).text


def test_runs_of_one_name_keep_their_figures_apart(tmp_path):
    paths = [make(tmp_path / side / "run", Plan(finished=False, val=False)) for side in "ab"]
    page = read(write_report(paths, tmp_path))
    names = {file.name for file in (tmp_path / "figures").glob("*.svg")}
    assert names == {"run-curves.svg", "run-2-curves.svg"} and (tmp_path / "report.html").exists()
    assert "there are no validation curves" in page.text
    assert "Nothing: all recipes are equal but for their names." in page.text


def test_several_runs_go_to_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [make(tmp_path / name, Plan(finished=False, epochs=0)) for name in "ab"]
    write_report(paths)
    assert (tmp_path / "report" / "report.html").exists()


@pytest.mark.parametrize("runs", [[], ["nowhere"]])
def test_no_run_is_refused(tmp_path, monkeypatch, runs):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunFolderError):
        write_report(runs)
    assert not list(tmp_path.iterdir())


def test_an_unwritable_folder_is_an_error(tmp_path):
    path = make(tmp_path / "run", Plan(finished=False, epochs=0))
    (tmp_path / "report.html").mkdir()
    with pytest.raises(StorageError, match=r"report\.html"):
        write_report([path], tmp_path)
