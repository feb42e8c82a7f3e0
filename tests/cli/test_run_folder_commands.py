"""cifarlab runs: list, show, diff, rm and gc, as they are typed."""

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
from command_line import Command
from made_run import Plan, digits, make

from cifarlab.experiments.study.folder import StudyFolder
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.terminal import print_table


@pytest.fixture
def cifarlab_with_runs(cifarlab: Command) -> Command:
    """Runs under runs/: two seeds of a recipe, one of another in a study, one in training."""
    for seed in range(2):
        make(Path(f"runs/a-s{seed}"), Plan(n=200, seed=seed))
    make(Path("runs/studies/s/b-s0"), Plan(n=200, changes=(("optimizer.lr", 0.2),)))
    make(Path("runs/young"), digits(finished=False))
    runs = [{"row": "b", "seed": 0, "run": "b-s0"}]
    StudyFolder("runs/studies/s").write({"study": {"name": "s"}, "runs": runs})
    return cifarlab


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


@pytest.mark.parametrize("words", [("runs",), ("runs", "list")])
def test_all_runs_are_listed_the_last_written_first(cifarlab_with_runs, words):
    output = cifarlab_with_runs(*words)
    assert output.code == 0
    header, *lines = rows(output.out)
    assert header[:3] == ["run", "state", "test"]
    assert {line[0] for line in lines[:4]} == {"a-s0", "a-s1", "studies/s/b-s0", "young"}
    assert "4 of 4 runs in runs" in output.out
    assert output.out.splitlines()[-1].startswith("next: cifarlab runs show runs/")


def test_a_condition_a_sort_and_further_columns(cifarlab_with_runs):
    output = cifarlab_with_runs(
        *("runs", "list", "test > 0 and optimizer.lr < 0.1", "--sort", "-seed"),
        *("--columns", "optimizer.lr,test.loss"),
    )
    header, *lines = rows(output.out)
    assert [line[0] for line in lines[:2]] == ["a-s1", "a-s0"] and "0.05" in lines[0]
    assert "optimizer.lr" in header and "2 of 4 runs" in output.out


def test_a_list_as_json(cifarlab_with_runs):
    (Path("runs/a-s1/result.json")).write_text("{")
    output = cifarlab_with_runs("runs", "list", "seed == 0", "--json", "--columns", "device.name")
    tree = json.loads(output.out)
    assert {run["run"] for run in tree["runs"]} == {"a-s0", "studies/s/b-s0", "young"}
    assert all(run["device.name"] == "AMD EPYC" for run in tree["runs"])
    assert [path for path, _ in tree["problems"]] == ["a-s1"]
    assert output.err.startswith("next: ")


def test_recipes_have_n_mean_and_std(cifarlab_with_runs):
    words = ("runs", "list", "--by-recipe", "--columns", "test.loss,optimizer.lr,stop_reason")
    tree = json.loads(cifarlab_with_runs(*words, "--json").out)
    assert len({row["recipe"] for row in tree["recipes"]}) == 3
    (group,) = [row for row in tree["recipes"] if row["n"] == 2]
    values = [json.loads(Path(f"runs/a-s{n}/result.json").read_text())["test"] for n in range(2)]
    mean = sum(value["accuracy"] for value in values) / 2
    assert group["n"] == 2 and group["test"]["mean"] == pytest.approx(mean)
    std = abs(values[0]["loss"] - values[1]["loss"]) / 2**0.5
    assert group["test.loss"]["std"] == pytest.approx(std)
    assert group["stop_reason"] == "planned"
    text = cifarlab_with_runs(*words).out
    assert f"{100 * mean:.2f}" in text and "planned" in text


def test_recipes_are_sorted_by_the_mean_of_any_key(cifarlab_with_runs):
    lrs = {}
    for sort in ("optimizer.lr", "-optimizer.lr"):
        words = ("runs", "list", "--by-recipe", "--sort", sort, "--columns", "optimizer.lr")
        recipes = json.loads(cifarlab_with_runs(*words, "--json").out)["recipes"]
        lrs[sort] = [row["optimizer.lr"]["mean"] for row in recipes if row["optimizer.lr"]]
    assert lrs["optimizer.lr"] == sorted(lrs["optimizer.lr"]) and len(lrs["optimizer.lr"]) == 2
    assert lrs["-optimizer.lr"] == lrs["optimizer.lr"][::-1]


def test_the_mean_over_seeds_depends_on_no_order(cifarlab_with_runs):
    repeat = Path(shutil.copytree("runs/a-s0", "runs/0-again"))
    result = json.loads((repeat / "result.json").read_text())
    result["test"]["accuracy"] = 0.999
    (repeat / "result.json").write_text(json.dumps(result))
    provenance = json.loads((repeat / "provenance.json").read_text())
    provenance["starts"] = [{"time": "2999-01-01T00:00:00+00:00"}]
    (repeat / "provenance.json").write_text(json.dumps(provenance))
    means = set()
    for sort in ((), ("--sort", "test"), ("--sort", "-test"), ("--sort", "run")):
        tree = json.loads(cifarlab_with_runs("runs", "list", "--by-recipe", "--json", *sort).out)
        (group,) = [row for row in tree["recipes"] if row["n"] == 2]
        means.add(group["test"]["mean"])
        assert group["n_left_out"] == 1
    assert len(means) == 1 and means.pop() < 0.99


def test_one_run_is_shown_with_what_stands_on_it(cifarlab_with_runs):
    text = cifarlab_with_runs("runs", "show", "runs/studies/s/b-s0").out
    assert "recipe: optimizer.lr" in text and "bytes: predictions" in text
    assert "study s (b, seed 0)" in text and "openings" in text
    tree = json.loads(cifarlab_with_runs("runs", "show", "runs/young", "--json").out)
    assert tree["facts"]["state"] in ("training", "stopped") and tree["facts"]["epochs"] == 6
    assert tree["settings"]["schedule.kind"] == "multistep"


def test_what_differs_between_runs(cifarlab_with_runs):
    output = cifarlab_with_runs("runs", "diff", "runs/a-s0", "runs/a-s1")
    assert ["seed", "0", "1"] in rows(output.out) and "test.accuracy" in output.out
    assert "optimizer.lr" not in output.out and "fingerprint" not in output.out
    output = cifarlab_with_runs("runs", "diff", "runs/a-s0", "runs/young", "--json")
    tree = json.loads(output.out)
    assert ["data.source", ["cifar10", "digits"]] in tree["setting"]
    assert any("different data" in warning for warning in tree["warnings"])
    same = cifarlab_with_runs("runs", "diff", "runs/a-s0", "runs/a-s0")
    assert same.code == 2 and same.err.startswith("error: ")


def test_a_run_is_deleted_and_a_dry_run_deletes_nothing(cifarlab_with_runs):
    output = cifarlab_with_runs("runs", "rm", "runs/a-s0", "--dry-run")
    assert "would be deleted" in output.out and Path("runs/a-s0/recipe.yaml").exists()
    assert "1 openings" not in output.out and "1 opening of the test split stays" in output.out
    output = cifarlab_with_runs("runs", "rm", "runs/a-s0")
    assert output.code == 0 and not Path("runs/a-s0").exists()
    assert len(Path("runs/removed-openings.jsonl").read_text().splitlines()) == 1


def test_what_a_study_stands_on_is_deleted_by_force_alone(cifarlab_with_runs):
    output = cifarlab_with_runs("runs", "rm", "runs/studies")
    assert output.code == 2 and "is a run of study s" in output.err and not output.out
    assert "--dry-run" in output.err.splitlines()[1]
    assert (
        "study s (b, seed 0)" in cifarlab_with_runs("runs", "rm", "runs/studies", "--dry-run").out
    )
    tree = json.loads(cifarlab_with_runs("runs", "rm", "runs/studies", "--force", "--json").out)
    assert [run["run"] for run in tree["runs"]] == ["studies/s/b-s0"] and not tree["dry_run"]
    assert not Path("runs/studies/s/b-s0").exists()


def test_parts_of_finished_runs_are_deleted(cifarlab_with_runs):
    (Path("runs/young/checkpoints")).mkdir()
    (Path("runs/young/checkpoints/last.safetensors")).write_bytes(b"w")
    words = ("runs", "gc", "seed == 0", "--keep", "results")
    dry = json.loads(cifarlab_with_runs(*words, "--dry-run", "--json").out)
    assert {run["run"] for run in dry["runs"]} == {"a-s0", "studies/s/b-s0"}
    assert all(run["uses"] and not run["is_whole"] for run in dry["runs"])
    assert Path("runs/a-s0/predictions").exists()
    refused = cifarlab_with_runs(*words)
    assert refused.code == 2 and "2 runs would be deleted, and there is no term" in refused.err
    assert "--yes" in refused.err and Path("runs/a-s0/predictions").exists()
    output = cifarlab_with_runs(*words, "--yes")
    assert "predictions of runs (2), runs that verdicts stand on (1)" in output.out
    assert "study s (b, seed 0) image by image" in output.out
    assert not Path("runs/a-s0/predictions").exists() and Path("runs/a-s0/result.json").exists()
    assert Path("runs/a-s1/predictions").exists()
    assert "young" in cifarlab_with_runs(*words, "--unfinished", "--dry-run").out


@pytest.mark.parametrize("as_json", [False, True])
def test_a_refusal_in_the_middle_comes_after_what_was_deleted(cifarlab_with_runs, as_json):
    words = ("runs", "rm", "runs/a-s0", "runs/a-s1", "runs/young", "--yes")
    with RunFolder("runs/a-s1").lock():
        output = cifarlab_with_runs(*words, *["--json"] * as_json)
    assert output.code == 2 and "a-s1 is in use" in output.err and "--run" not in output.err
    if as_json:
        tree = json.loads(output.out)
        assert [run["run"] for run in tree["runs"]] == ["a-s0", "young"]
        assert len(tree["refusals"]) == 1 and not tree["dry_run"]
    else:
        assert [line[0] for line in rows(output.out)[1:3]] == ["a-s0", "young"]
        assert "2 runs: " in output.out and "not deleted: " in output.out
    assert not Path("runs/young").exists() and Path("runs/a-s1/recipe.yaml").exists()


@pytest.mark.parametrize(("answer", "n_left"), [("y", 1), ("", 3)])
def test_several_runs_are_deleted_after_a_question(cifarlab_with_runs, monkeypatch, answer, n_left):
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{answer}\n"))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    output = cifarlab_with_runs("runs", "rm", "runs/a-s0", "runs/a-s1", "--json")
    assert "2 runs: " in output.err and "delete? [y/N]" in output.err
    assert "2 openings of the test split stay counted" in output.err
    assert len(list(Path("runs").glob("[ay]*"))) == n_left
    assert (output.code == 0) == (n_left == 1) == bool(output.out)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("gc", "", "--keep", "results"), "the condition is empty"),
        (("gc", " ", "--keep", "results", "--yes"), "the condition is empty"),
        (("gc", "--keep", "results", "--folder", "runs/a-s0"), "a-s0 is a run itself"),
        (("list", "lr > 3"), "no run has the key lr"),
        (("list", "lr >"), "can't read the condition"),
        (("list", "seed == {[]}"), "can't read the condition"),
        (("list", "test - val > 0"), "there is no arithmetic"),
        (("list", "--sort", "acuracy"), "no run has the key acuracy"),
        (("list", "--columns", "x.y"), "no run has the key x.y"),
        (("list", "--folder", "nowhere"), "there is no folder nowhere"),
        (("show", "runs/nowhere"), "is no run folder"),
        (("diff", "runs/a-s0"), "one run alone differs from nothing"),
        (("rm", "runs/nowhere"), "there is no run in runs/nowhere"),
        (("rm", "."), "is not in"),
        (("gc", "--keep", "everything"), "a run has no part 'everything'"),
    ],
)
def test_errors_are_two_lines(cifarlab_with_runs, words, what):
    output = cifarlab_with_runs("runs", *words)
    assert output.code == 2 and what in output.err
    assert len(output.err.splitlines()) == 2


def test_a_long_table_is_printed_as_a_short_one(capsys):
    cells = [(f"run {n}", "é" * (n % 5), "[x]") for n in range(300)]
    print_table(("name", "more", "last"), cells)
    long = capsys.readouterr().out.splitlines()
    print_table(("name", "more", "last"), cells[:150])
    short = capsys.readouterr().out.splitlines()
    assert [line.split() for line in short] == [line.split() for line in long[:151]]
    assert len(long) == 301 and {line.find("[x]") for line in long[1:]} == {15}
