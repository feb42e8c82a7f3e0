"""Real races on the embedded digits: verdicts, exit codes, JSON, what is refused, kill and resume."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import Command, Output, command

from cifarlab.experiments.judge.book import RecordBook
from cifarlab.experiments.judge.engine import Judgement, run_judge
from cifarlab.recipes.catalog import find
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change, to_yaml
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import Interrupted, RunFolderError, UserError
from cifarlab.training.loop import fit

PLUGIN = Path(__file__).with_name("slow_parts.py")
FAST = {
    "name": "fast",
    "training.duration": "2 epochs",
    "training.precision": "float32",
    "training.batch_size": 256,
    "model.stem_width": 4,
    "model.channels": [4, 8, 8],
    "evaluation.test": False,
}
POOR = "optimizer.lr=0.0001"


@pytest.fixture
def cifarlab(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fast.yaml").write_text(to_yaml(fast()))
    return command(monkeypatch, capsys)


def fast(**changes: Any) -> Recipe:
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return change(find("quickstart"), {**FAST, **named})


def race(path: Path, candidate: Recipe, incumbent: Recipe, **options: Any) -> Judgement:
    return run_judge(candidate, incumbent, runs=path, log=lambda _: None, **options)


def as_json(output: Output) -> Any:
    assert output.code in (0, 3, 4), output.err
    return json.loads(output.out)


def test_a_better_candidate_is_accepted_and_becomes_a_record(cifarlab: Command) -> None:
    Path("poor.yaml").write_text(to_yaml(fast(name="poor", optimizer__lr=0.0001)))
    output = cifarlab("judge", "fast.yaml", "--against", "poor.yaml")
    assert output.code == 0, output.err
    assert "accepted: better" in output.out
    assert output.out.splitlines()[-1] == "next: cifarlab records fast-1"
    listed = cifarlab("records")
    assert listed.code == 0 and "fast-1" in listed.out and "speed/94" in listed.out
    # it may be the incumbent now; a poor candidate is rejected, and takes no level from others
    output = cifarlab("judge", "fast.yaml", POOR, "--against", "fast-1", "--json")
    tree = as_json(output)
    assert (output.code, tree["verdict"], tree["exit_code"]) == (3, "rejected", 3)
    assert tree["reason"] == "worse" and tree["incumbent"].startswith("fast optimizer.lr=0.1")
    assert tree["evidence"]["environment"]["device"]["threads"] == 1
    refused = cifarlab("judge", "fast.yaml", "optimizer.lr=0.2", "--against", "fast-2")
    assert refused.code == 2 and "its claim is rejected" in refused.err


def test_json_is_one_object_and_nothing_else(cifarlab: Command) -> None:
    words = ("judge", "fast.yaml", "evaluation.metric=macro_f1", "--against", "fast.yaml")
    output = cifarlab(*words, "--json")
    tree = as_json(output)
    assert output.code == 3 and "does nothing" in tree["reason"]
    assert len(tree["evidence"]["laps"]) == 1 and "seed " in output.err
    entries = json.loads(cifarlab("records", "--json").out)["entries"]
    assert [entry["state"] for entry in entries] == ["rejected"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "are the same recipe"),
        (("name=other",), "are the same recipe"),
        (("evaluation.test=true",), "are the same recipe"),
        (("seed=7",), "differ in their seed alone"),
        (("seed=7", "name=other"), "differ in their seed alone"),
        (("data.split_seed=1",), "other images"),
        (("training.max_time=1 s",), "training.max_time"),
        (("training.precision=bfloat16", "--goal", "time-to-accuracy"), "equal precision"),
        (("optimizer.lr=0.2", "--goal", "speed"), "no such goal"),
        (("optimizer.lr=0.2", "--margin", "0"), "no margin"),
        (("optimizer.lr=0.2", "--most", "2"), "no verdict"),
        (("optimizer.lr=0.2", "--budget", "2"), "no unit"),
        (("optimizer.rl=0.2",), "optimizer.lr"),
    ],
)
def test_what_can_t_be_judged_is_refused(
    cifarlab: Command, words: tuple[str, ...], message: str
) -> None:
    output = cifarlab("judge", "fast.yaml", *words, "--against", "fast.yaml")
    assert output.code == 2 and message in output.err and output.out == ""
    assert len(output.err.splitlines()) == 2 and not Path("runs/records.jsonl").exists()


def test_unknown_names_are_refused(cifarlab: Command) -> None:
    assert cifarlab("judge", "fast.yaml", "--against", "fast-1").code == 2
    assert "no record 'fast-1'" in cifarlab("records", "fast-1").err
    assert "no record 'fast-1'" in cifarlab("records", "--check", "fast-1").err


def test_a_budget_ends_a_race_that_may_go_on(tmp_path: Path) -> None:
    recipes = fast(optimizer__lr=0.11), fast()
    first = race(tmp_path, *recipes, budget="1 s")
    assert first.exit_code == 4 and first.verdict.reason.startswith("1 s are spent")
    with pytest.raises(RunFolderError, match="begun and is not finished"):
        race(tmp_path, *recipes)
    second = race(tmp_path, *recipes, most=10, resume=True, margin=0.2)
    assert second.race == first.race and second.verdict.is_closed
    before, after = (judged.verdict.evidence.laps for judged in (first, second))
    assert after[: len(before)] == before
    assert len(RecordBook(tmp_path).entries()) == 1


def test_a_candidate_that_diverges_is_rejected(tmp_path: Path) -> None:
    wild = fast(optimizer__lr=1e30, schedule__warmup="0 epochs")
    judged = race(tmp_path, wild, fast())
    assert judged.exit_code == 3 and "the candidate's run failed" in judged.verdict.reason
    judged = race(tmp_path, fast(), wild)
    assert judged.exit_code == 4 and "the incumbent's run failed" in judged.verdict.reason


def test_runs_are_interleaved_and_their_order_alternates(tmp_path: Path) -> None:
    lines: list[str] = []
    run_judge(fast(optimizer__lr=0.0001), fast(), runs=tmp_path, log=lines.append)
    sides = [line.split()[2] for line in lines if line.endswith(" ...")]
    seeds = [line.split()[1] for line in lines if line.endswith(" ...")]
    assert sides[:4] == ["incumbent", "candidate", "candidate", "incumbent"]
    assert seeds[0] == seeds[1] != seeds[2] == seeds[3]


def facts(judged: Judgement) -> Any:
    """What a kill must not change: all but times."""
    verdict, evidence = judged.verdict, judged.verdict.evidence
    accuracies = [
        (lap.seed, {side: score.accuracy for side, score in lap.scores.items()})
        for lap in evidence.laps
    ]
    return verdict.verdict, verdict.reason, verdict.evidence.p, accuracies


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("undisturbed")
    return facts(race(path, fast(optimizer__lr=0.0001), fast()))


@pytest.mark.parametrize("number", range(1, 7))
def test_interrupted_and_resumed_is_the_same(
    undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The signal comes as the run of that number begins."""
    begun: list[Any] = []

    def fit_and_signal(run: Any) -> Any:
        begun.append(run)
        if len(begun) == number:
            os.kill(os.getpid(), signal.SIGINT)
        return fit(run)

    monkeypatch.setattr("cifarlab.training.train.fit", fit_and_signal)
    recipes = fast(optimizer__lr=0.0001), fast()
    with pytest.raises(Interrupted, match="of at most 10 seeds"):
        race(tmp_path, *recipes)
    assert [entry.state for entry in RecordBook(tmp_path).entries()] == ["open"]
    assert facts(race(tmp_path, *recipes, resume=True)) == undisturbed


@pytest.mark.parametrize("n_finished", [0, 1, 3, 4])
def test_killed_and_resumed_is_the_same(undisturbed: Any, tmp_path: Path, n_finished: int) -> None:
    (tmp_path / "fast.yaml").write_text(to_yaml(fast()))
    words = [sys.executable, "-m", "cifarlab", "judge", "fast.yaml", POOR, "--against", "fast.yaml"]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL)
    folder = tmp_path / "runs" / "judge"
    while process.poll() is None:
        if len(list(folder.glob("*/*/result.json"))) >= n_finished and list(folder.glob("*")):
            break
        time.sleep(0.01)
    process.kill()
    process.wait()
    judged = race(tmp_path / "runs", fast(optimizer__lr=0.0001), fast(), resume=True)
    assert facts(judged) == undisturbed
    assert len(RecordBook(tmp_path / "runs").entries()) == 1


def test_where_seconds_count_a_run_that_was_left_is_trained_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signal_and_fit(run: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return fit(run)

    recipes = fast(training__duration="1 epoch"), fast()
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr("cifarlab.training.train.fit", signal_and_fit)
        race(tmp_path, *recipes, goal="time-to-accuracy")
    judged = race(tmp_path, *recipes, goal="time-to-accuracy", resume=True)
    first = judged.race.first_seed
    names = {path.parent.name for path in judged.path.glob("*/result.json")}
    assert f"incumbent-s{first}-2" in names and f"incumbent-s{first}" not in names
    starts = [RunFolder(judged.path / name).provenance()["starts"] for name in names]
    assert {len(each) for each in starts} == {1}


def sleepy(cifarlab: Command, name: str, pause: float, *words: str) -> str:
    """Write a recipe that pauses at each step; return its file's name."""
    Path(f"{name}.yaml").write_text(
        f"base: fast.yaml\nplugins: [{PLUGIN}]\n"
        f"overrides: {{loss.kind: sleepy, loss.pause: {pause}, {', '.join(words)}}}\n"
    )
    return f"{name}.yaml"


def test_a_known_difference_in_speed_is_seen(cifarlab: Command) -> None:
    """12 steps of at least 50 ms; the other takes a tenth longer."""
    quick, slow = sleepy(cifarlab, "quick", 0.1), sleepy(cifarlab, "slow", 0.13)
    options = ("--goal", "time-to-accuracy", "--plugin", PLUGIN, "--json")
    output = cifarlab("judge", slow, "--against", quick, *options)
    assert output.code == 3 and as_json(output)["reason"] == "slower"
    output = cifarlab("judge", quick, "--against", slow, *options)
    tree = as_json(output)
    assert output.code == 0 and tree["reason"].startswith("faster, and not worse")
    assert all(lap["is_identical"] for lap in tree["evidence"]["laps"])
    assert 1.05 < tree["evidence"]["speedup"] < 1.35


def test_what_is_faster_and_worse_is_rejected(cifarlab: Command) -> None:
    words = ("judge", "fast.yaml", "training.duration=2 steps", "--against", "fast.yaml")
    output = cifarlab(*words, "--goal", "time-to-accuracy", "--json")
    tree = as_json(output)
    assert output.code == 3 and tree["reason"] == "worse by more than 0.2 points"
    assert tree["evidence"]["speedup"] > 1


def test_a_record_is_run_again_by_one_command(cifarlab: Command) -> None:
    Path("poor.yaml").write_text(to_yaml(fast(name="poor", optimizer__lr=0.0001)))
    assert cifarlab("judge", "fast.yaml", "--against", "poor.yaml").code == 0
    output = cifarlab("records", "--check", "fast-1", "--json")
    tree = as_json(output)
    assert (tree["event"], tree["name"]) == ("check", "fast-1")
    assert {"accepted": 0, "rejected": 3}[tree["verdict"]] == output.code
    assert tree["reason"].startswith("difference ")
    book = RecordBook(Path("runs"))
    first, second = (entry.verdict.evidence.laps for entry in book.entries())
    assert len(second) == 3 and not {x.seed for x in first} & {x.seed for x in second}
    assert "a check" in cifarlab("records", "fast-1").out


def test_python_shows_what_came_of_it(tmp_path: Path) -> None:
    import cifarlab as lab

    judged = lab.judge(fast(optimizer__lr=0.0001), fast(), runs=tmp_path)
    assert repr(judged) == f"<JudgementView fast-1: rejected, worse; {len(judged.frame)} seeds>"
    assert not judged.is_accepted and judged.json["exit_code"] == 3
    assert "<table" in judged._repr_html_() and "rejected: worse" in judged._repr_html_()
    table = lab.records(runs=tmp_path)
    assert repr(table) == f"<RecordTable {tmp_path}: 1 rejected>"
    assert list(table.frame.index) == ["speed/94", "fast-1"] and "<table" in table._repr_html_()
    with pytest.raises(UserError, match="no record"):
        lab.records("other", runs=tmp_path)
