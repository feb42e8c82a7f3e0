"""judge and records: exit codes, JSON, what is refused, what is slower, faster or the same."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Command, Output
from made_race import POOR, fast, poor

from cifarlab.experiments.judge.book import RecordBook
from cifarlab.recipes.text import to_yaml

PLUGIN = Path(__file__).with_name("sleepy_parts.py")


@pytest.fixture(autouse=True)
def _recipes(cifarlab: Command) -> None:
    """Two recipes in the working folder."""
    Path("fast.yaml").write_text(to_yaml(fast()))
    Path("poor.yaml").write_text(to_yaml(poor().model_copy(update={"name": "poor"})))


def as_json(output: Output) -> Any:
    assert output.code in (0, 3, 4), output.err
    return json.loads(output.out)


def test_a_better_candidate_is_accepted_and_becomes_a_record(cifarlab: Command) -> None:
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
    assert len(tree["evidence"]["laps"]) == 3 and "seed " in output.err
    entries = json.loads(cifarlab("records", "--json").out)["entries"]
    assert [entry["state"] for entry in entries] == ["rejected"]


def test_a_race_without_a_pair_shows_how_to_go_on(cifarlab: Command) -> None:
    words = ("judge", "fast.yaml", "optimizer.lr=0.2", "--against", "fast.yaml")
    output = cifarlab(*words, "--budget", "0.001 s")
    lines = output.out.splitlines()
    assert output.code == 4 and not any(line.strip() == "seed" for line in lines), output.out
    assert "the budget of 0.001 s is spent after 0 pairs: give a larger one" in output.out
    assert lines[-2].startswith("go on with: ") and lines[-2].endswith("--resume")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "are the same recipe"),
        (("name=other",), "are the same recipe"),
        (("evaluation.test=true",), "are the same recipe"),
        (("seed=7",), "differ in their seed alone"),
        (("seed=7", "name=other"), "differ in their seed alone"),
        (("data.split_seed=1",), "other images"),
        (("data.val_fraction=0.2",), "other images"),
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


class PretendedClock:
    """A clock that only pauses move, each by a little more or less than it asks for."""

    def __init__(self) -> None:
        self.now, self._draws = 0.0, np.random.default_rng(0)

    def sleep(self, seconds: float) -> None:
        self.now += seconds * self._draws.normal(1.0, 0.02)

    def perf_counter(self) -> float:
        return self.now


def test_a_recipe_that_is_slower_by_10_percent(
    cifarlab: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, pause in (("quick", 0.100), ("slow", 0.110)):
        overrides = f"{{loss.kind: sleepy, loss.pause: {pause}}}"
        text = f"base: fast.yaml\nplugins: [{PLUGIN}]\noverrides: {overrides}\n"
        Path(f"{name}.yaml").write_text(text)
    clock = PretendedClock()
    monkeypatch.setattr("cifarlab.training.clock.time", clock)
    monkeypatch.setattr("time.sleep", clock.sleep)
    options = ("--goal", "time-to-accuracy", "--plugin", PLUGIN, "--json")
    output = cifarlab("judge", "slow.yaml", "--against", "quick.yaml", *options)
    assert output.code == 3 and as_json(output)["reason"] == "slower"
    output = cifarlab("judge", "quick.yaml", "--against", "slow.yaml", *options)
    tree = as_json(output)
    assert output.code == 0 and tree["reason"].startswith("faster, and not worse")
    assert all(lap["is_identical"] for lap in tree["evidence"]["laps"])
    assert tree["evidence"]["speedup"] == pytest.approx(1.1, rel=0.02)
    checked = cifarlab("records", "--check", tree["name"], "--json")
    assert checked.code == 0 and "logarithm of the speedup" in as_json(checked)["reason"]


def test_what_is_faster_and_worse_is_rejected(cifarlab: Command) -> None:
    words = ("judge", "fast.yaml", "training.duration=2 steps", "--against", "fast.yaml")
    output = cifarlab(*words, "--goal", "time-to-accuracy", "--json")
    tree = as_json(output)
    assert output.code == 3 and tree["reason"] == "worse by more than 0.2 points"
    assert tree["evidence"]["speedup"] > 1


def test_a_record_is_run_again_by_one_command(cifarlab: Command) -> None:
    longer = "training.duration=6 epochs"
    assert cifarlab("judge", "fast.yaml", longer, "--against", "poor.yaml").code == 0
    shutil.rmtree(Path("runs/judge"))  # the book has the recipes
    Path("fast.yaml").unlink()
    output = cifarlab("records", "--check", "fast-1", "--json")
    tree = as_json(output)
    assert (tree["event"], tree["record"], tree["name"]) == ("check", "fast-1", "check-fast-1-2")
    assert (tree["verdict"], output.code) == ("accepted", 0), tree["reason"]
    assert tree["reason"].startswith("difference ")
    book = RecordBook(Path("runs"))
    first, second = (entry.verdict.evidence.laps for entry in book.entries())
    assert len(second) == 3 and not {x.seed for x in first} & {x.seed for x in second}
    assert [len(json_entries(cifarlab, name)) for name in ("fast-1", "check-fast-1-2")] == [2, 1]
    assert "a check of fast-1" in cifarlab("records", "check-fast-1-2").out


def json_entries(cifarlab: Command, name: str) -> Any:
    return json.loads(cifarlab("records", name, "--json").out)["entries"]
