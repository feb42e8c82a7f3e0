"""A small real study on the embedded digits: run, killed, resumed, extended, with failures."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from cifarlab.experiments.placement import Placement
from cifarlab.experiments.study.definition import Study, StudyRow, change_plan
from cifarlab.experiments.study.engine import FinishedStudy, run_study
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.metrics_log import without_cost
from cifarlab.run_folder.schemas import as_json
from cifarlab.system.errors import FailedRunsError, Interrupted, RunFolderError, UserError
from cifarlab.training.loop import fit

FAST = {
    "training.duration": "2 epochs",
    "training.precision": "float32",
    "training.batch_size": 256,
    "model.stem_width": 4,
    "model.channels": [4, 8, 8],
}
STUDY = Study(
    name="tests/small",
    n_seeds=2,
    overrides=FAST,
    rows=(
        StudyRow(name="plain", recipe="quickstart"),
        StudyRow(name="slow", recipe="quickstart", overrides={"optimizer.lr": 0.001}),
    ),
)


def run_made(path: Path, **other: Any) -> FinishedStudy:
    return run_study(STUDY, runs=path, command="cifarlab study tests/small", **other)


def plain_comparison(finished_study: FinishedStudy) -> Any:
    """Everything of the comparison that is not a clock's."""
    comparison = finished_study.comparison
    no_clock: dict[str, Any] = {"speedup": None, "speedup_interval": None, "verdict": ""}
    rows = tuple(row._replace(**no_clock) for row in comparison.margin_rows)
    return as_json(comparison._replace(runs=(), margin_rows=rows))


def runs_of(finished_study: FinishedStudy) -> dict[str, Any]:
    """Everything of the study's runs that is not a clock's, by folder."""
    return {
        folder.name: (
            without_cost(RunFolder(folder).result()),
            RunFolder(folder).weights("last").read_bytes(),
        )
        for folder in sorted(finished_study.folder.path.glob("*-s*"))
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> FinishedStudy:
    return run_made(tmp_path_factory.mktemp("one-go"))


def test_a_study_is_ordinary_runs_and_a_table(undisturbed: FinishedStudy) -> None:
    path = undisturbed.folder.path
    assert path.parts[-2:] == ("studies", "tests-small")
    names = {p.name for p in path.iterdir() if not p.name.startswith(".")}
    files = {"study.json", "table.md", "table.csv", "figure.svg", "curves.svg"}
    assert len(names - files) == 4 and files < names
    content = json.loads((path / "study.json").read_text())
    assert Study.model_validate(content["study"]) == STUDY
    assert [(r["row"], r["seed"], r["state"]) for r in content["runs"]] == [
        ("plain", 0, "finished"),
        ("slow", 0, "finished"),
        ("plain", 1, "finished"),
        ("slow", 1, "finished"),
    ]
    for run in content["runs"]:
        folder = RunFolder(path / run["run"])
        assert folder.recipe().seed == run["seed"] and folder.recipe().name == run["row"]
        expected = folder.result()["test"]["accuracy"]
        line = next(x for x in content["comparison"]["rows"] if x["name"] == run["row"])
        assert line["values"][str(run["seed"])] == expected
    assert content["comparison"] == plain_comparison(undisturbed)


def test_what_is_finished_is_not_run_again(undisturbed: FinishedStudy) -> None:
    before = {f: f.stat().st_mtime_ns for f in undisturbed.folder.path.rglob("result.json")}
    lines: list[str] = []
    second = run_made(undisturbed.folder.path.parents[1], log=lines.append)
    assert lines[0].startswith("tests/small: 0 runs to train, 4 are there")
    assert plain_comparison(second) == plain_comparison(undisturbed)
    assert before == {f: f.stat().st_mtime_ns for f in before}


def test_finished_runs_elsewhere_under_runs_are_taken(
    undisturbed: FinishedStudy, tmp_path: Path
) -> None:
    """A run that another study made is the same run."""
    runs = undisturbed.folder.path.parents[1]
    other = STUDY.model_copy(update={"name": "another", "rows": STUDY.rows[:1]})
    finished_study = run_study(other, runs=runs, n_seeds=1)
    assert not list(finished_study.folder.path.glob("*-s0-*"))
    entry = json.loads((finished_study.folder.path / "study.json").read_text())["runs"][0]
    assert (finished_study.folder.path / entry["run"] / "result.json").exists()


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_and_resumed_is_the_same(
    undisturbed: FinishedStudy,
    tmp_path: Path,
    number: int,
    signum: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The signal comes as the run of that number begins its first step."""
    begun: list[Any] = []

    def fit_and_signal(run: Any) -> Any:
        begun.append(run)
        if len(begun) == number:
            os.kill(os.getpid(), signum)
        return fit(run)

    monkeypatch.setattr("cifarlab.training.train.fit", fit_and_signal)
    with pytest.raises(Interrupted) as caught:
        run_made(tmp_path)
    assert caught.value.exit_code == 128 + signum
    assert caught.value.hint == "go on with: cifarlab study tests/small --resume"
    with pytest.raises(RunFolderError, match="begun and is not finished"):
        run_made(tmp_path)
    resumed = run_made(tmp_path, resume=True)
    assert plain_comparison(resumed) == plain_comparison(undisturbed)
    assert runs_of(resumed) == runs_of(undisturbed)


def test_interrupted_between_two_runs_nothing_is_begun(tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        if line.startswith("2/4"):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="after 1 of 4 runs"):
        run_made(tmp_path, log=interrupt)
    assert len(list(tmp_path.rglob("recipe.yaml"))) == 1


def start_command(path: Path, *words: str) -> subprocess.Popen[str]:
    """The command line on the study, in a session of its own as a terminal would have it."""
    file = path / "small.yaml"
    file.write_text(yaml.safe_dump(STUDY.model_dump(mode="json")))
    command = [sys.executable, "-u", "-m", "cifarlab", "study", str(file), *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=path, text=True, start_new_session=True, **pipes)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP])
def test_a_terminal_s_signal_stops_several_at_a_time(
    undisturbed: FinishedStudy, tmp_path: Path, signum: int
) -> None:
    process = start_command(tmp_path, "--jobs", "2")
    folder = tmp_path / "runs/studies/tests-small"
    while process.poll() is None and not list(folder.glob("*-s0-*/recipe.yaml")):
        time.sleep(0.01)
    os.killpg(process.pid, signum)  # a terminal sends it to the workers too
    out, err = process.communicate()
    assert process.returncode == 128 + signum, out + err
    assert len(err.splitlines()) == 2 and "--resume" in err and "Traceback" not in err
    assert not (folder / "table.md").exists()
    resumed = run_study(STUDY, runs=tmp_path / "runs", resume=True)
    assert plain_comparison(resumed) == plain_comparison(undisturbed)
    assert runs_of(resumed) == runs_of(undisturbed)


def test_killed_and_resumed_is_the_same(undisturbed: FinishedStudy, tmp_path: Path) -> None:
    process = start_command(tmp_path)
    for line in process.stdout:
        if line.startswith("2/4 slow, seed 0 ..."):
            break
    runs = tmp_path / "runs/studies/tests-small"
    while process.poll() is None and len(list(runs.glob("slow*/metrics.jsonl"))) < 1:
        time.sleep(0.01)
    process.kill()
    process.wait()
    resumed = run_study(STUDY, runs=tmp_path / "runs", resume=True)
    assert plain_comparison(resumed) == plain_comparison(undisturbed)
    assert runs_of(resumed) == runs_of(undisturbed)


def test_several_at_a_time_give_the_same(undisturbed: FinishedStudy, tmp_path: Path) -> None:
    finished_study = run_made(tmp_path, placement=Placement(2))
    assert plain_comparison(finished_study) == plain_comparison(undisturbed)
    assert runs_of(finished_study) == runs_of(undisturbed)


def test_until_decided_several_at_a_time_and_killed_give_the_same(tmp_path: Path) -> None:
    """By added seeds; several at a time may train runs of later seeds, which are not used."""
    study = change_plan(STUDY, until="decided", margin=3)
    alone = run_study(study, runs=tmp_path / "one-go")
    n_seeds = len(alone.comparison.rows[0].values)
    assert 3 <= n_seeds <= 10 and alone.comparison.rows[1].is_decided is (n_seeds < 10)
    pool = run_study(study, runs=tmp_path / "pool", placement=Placement(2))
    assert plain_comparison(pool) == plain_comparison(alone)
    of_pool, of_alone = runs_of(pool), runs_of(alone)
    assert {name: of_pool[name] for name in of_alone} == of_alone
    seeds_ahead = [int(name.split("-s")[-1].split("-")[0]) for name in of_pool.keys() - of_alone]
    assert all(seed >= n_seeds for seed in seeds_ahead)
    file = tmp_path / "race.yaml"
    file.write_text(yaml.safe_dump(study.model_dump(mode="json")))
    command = [sys.executable, "-u", "-m", "cifarlab", "study", str(file)]
    process = subprocess.Popen(command, cwd=tmp_path, text=True, stdout=subprocess.PIPE)
    for line in process.stdout:
        if " plain, seed 2 ..." in line:
            break
    process.kill()
    process.wait()
    resumed = run_study(study, runs=tmp_path / "runs", resume=True)
    assert plain_comparison(resumed) == plain_comparison(alone)
    assert runs_of(resumed) == runs_of(alone)


def test_rows_may_be_trained_later_and_count_from_the_start(
    undisturbed: FinishedStudy, tmp_path: Path
) -> None:
    lines: list[str] = []
    first = run_made(tmp_path, only="plain", log=lines.append)
    assert "2 runs to train" in lines[0]
    assert "slow, seed 0, 1: not trained yet." in first.comparison.notes
    assert first.comparison.rows[1].verdict == "no run finished"
    second = run_made(tmp_path, log=lines.append)
    assert any(line.startswith("tests/small: 2 runs to train, 2 are there") for line in lines)
    assert plain_comparison(second) == plain_comparison(undisturbed)


def diverging(path: Path, **other: Any) -> FinishedStudy:
    wild = {"optimizer.lr": 1e30, "schedule.warmup": "0 epochs"}
    rows = (*STUDY.rows[:1], StudyRow(name="wild", recipe="quickstart", overrides=wild))
    return run_study(STUDY.model_copy(update={"rows": rows}), runs=path, n_seeds=2, **other)


def test_a_run_that_diverges_is_recorded_and_the_study_goes_on(tmp_path: Path) -> None:
    lines: list[str] = []
    finished_study = diverging(tmp_path, log=lines.append)
    assert [line.verdict for line in finished_study.comparison.rows] == [
        "the baseline",
        "no run finished",
    ]
    states = {(r["row"], r["seed"]): r for r in finished_study.folder.content()["runs"]}
    assert states["wild", 0]["failure"]["kind"] == "DivergenceError"
    assert states["wild", 1]["state"] == "failed" and states["plain", 1]["state"] == "finished"
    assert any("DivergenceError: " in note for note in finished_study.comparison.notes)
    second = diverging(tmp_path, log=lines.append)  # it would diverge again
    assert any(": 0 runs to train" in line for line in lines)
    assert plain_comparison(second) == plain_comparison(finished_study)


def test_nothing_finished_says_why(tmp_path: Path) -> None:
    rows = (StudyRow(name="gone", recipe="quickstart", overrides={"data.source": "no/where"}),)
    with pytest.raises(FailedRunsError, match="no run finished") as caught:
        run_study(STUDY.model_copy(update={"rows": rows}), runs=tmp_path)
    assert "DataError" in caught.value.hint and "no/where" in caught.value.hint


def test_a_scaled_study_is_another_with_its_scale_in_all_that_it_writes(tmp_path: Path) -> None:
    finished_study = run_made(tmp_path, scale=0.5, n_seeds=1)
    path = finished_study.folder.path
    assert path.name == "tests-small-scale-0.5"
    sentence = "At scale 0.5: 0.5 of the training images and 0.5 of the epochs."
    assert sentence in (path / "table.md").read_text()
    run = RunFolder(next(path.glob("plain-s0-*")))
    assert run.result()["epochs"] == 1 and run.result()["test"]["n"] == 359
    assert run.provenance()["data"]["train"] == 647 and run.provenance()["data"]["val"] == 144


def test_a_study_in_use_is_refused(tmp_path: Path) -> None:
    from cifarlab.experiments.study.folder import StudyFolder

    with StudyFolder.locate(STUDY.name, 1.0, None, tmp_path).lock():
        command = [sys.executable, "-c", _SECOND, str(tmp_path)]
        process = subprocess.run(command, capture_output=True, text=True)
    assert "in use by another process" in process.stdout, process.stderr


_SECOND = """
import sys
from pathlib import Path
from cifarlab.system.errors import RunFolderError
from cifarlab.experiments.study.folder import StudyFolder
try:
    with StudyFolder(Path(sys.argv[1]) / "studies" / "tests-small").lock():
        print("free")
except RunFolderError as error:
    print(error.what)
"""


def test_a_study_s_folder_is_compared_with_its_own_baseline(tmp_path: Path) -> None:
    from cifarlab.experiments.study.outcomes import compare_runs

    other = STUDY.model_copy(update={"baseline": "slow"})
    finished_study = run_study(other, runs=tmp_path, scale=0.5)
    comparison = compare_runs([str(finished_study.folder.path)], runs=tmp_path)
    assert comparison.baseline == "slow"
    lines = {line.name: line for line in finished_study.comparison.rows}
    for line in comparison.rows:
        assert line == lines[line.name]
    assert (
        "slow: trained on 0.5 of the training images (data.train_subset_fraction)."
        in comparison.notes
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"placement": Placement(0)}, "--jobs 0: that is no number of runs"),
        ({"placement": Placement(-1)}, "--jobs -1"),
        ({"n_seeds": 0}, "n_seeds"),
    ],
)
def test_no_number_of_processes_or_runs(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        run_made(tmp_path, **options)
    assert not list(tmp_path.iterdir())
