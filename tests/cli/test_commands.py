"""Each command does what it says: help, recipes, check, train, evaluate, report."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from command_line import Command
from made_run import Plan as RunPlan
from made_run import make as make_images
from made_search import made

from cifarlab import __version__
from cifarlab.cli import machine
from cifarlab.cli.machine import _EXTRAS
from cifarlab.experiments.search.definition import shipped_searches
from cifarlab.experiments.search.engine import FinishedSearch
from cifarlab.experiments.search.results import read_results
from cifarlab.experiments.study.definition import shipped_studies
from cifarlab.recipes.catalog import find, shipped_recipes
from cifarlab.recipes.keys import keys
from cifarlab.recipes.text import build
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system import machine_speed

COMMANDS = (
    ("train",),
    ("evaluate",),
    ("report",),
    ("check",),
    ("study",),
    ("studies",),
    ("search",),
    ("searches",),
    ("compare",),
    ("recipes",),
    ("recipes", "list"),
    ("recipes", "show"),
    ("recipes", "keys"),
    ("recipes", "lint"),
)
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
DIGITS = (
    "10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9; 1,294 train + 144 val + 359 test images of 8 x 8, "
    "grey"
)
SHORT = ("training.duration=2 epochs", "training.precision=float32")


@pytest.mark.parametrize("words", [(), *COMMANDS], ids=" ".join)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(cifarlab: Command, words: tuple[str, ...], flag: str) -> None:
    output = cifarlab(*words, flag)
    assert output.code == 0
    assert "Usage" in output.out
    assert output.err == ""


def test_the_version_is_that_of_the_package(cifarlab: Command) -> None:
    output = cifarlab("--version")
    assert (output.code, output.out) == (0, f"cifarlab {__version__}\n")


def test_help_names_each_command(cifarlab: Command) -> None:
    text = cifarlab("--help").out
    assert all(words[0] in text for words in COMMANDS)


@pytest.mark.parametrize("words", [("recipes",), ("recipes", "list")], ids=" ".join)
def test_recipes_are_listed(cifarlab: Command, words: tuple[str, ...]) -> None:
    output = cifarlab(*words)
    assert output.code == 0
    listed = [line.split()[0] for line in output.out.splitlines()[1:]]
    assert listed == list(shipped_recipes())


@pytest.mark.parametrize("name", ["quickstart", "fudan/resnet24"])
def test_what_is_shown_is_the_whole_recipe(cifarlab: Command, name: str) -> None:
    output = cifarlab("recipes", "show", name)
    assert output.code == 0
    assert build(yaml.safe_load(output.out)) == find(name)
    assert "Source:" in output.out and "parameters" in output.out


def test_every_key_is_listed(cifarlab: Command) -> None:
    text = cifarlab("recipes", "keys").out
    assert all(key.path in text for key in keys())


def test_check_knows_every_extra_but_those_for_developers() -> None:
    pyproject = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text())
    assert {*_EXTRAS, "all", "loggers", "docs", "test", "dev"} == set(
        pyproject["project"]["optional-dependencies"]
    )


def test_check_names_the_machine(cifarlab: Command) -> None:
    output = cifarlab("check")
    assert output.code == 0
    for word in ("device", "cpu", "precision", "torch", "cache", "CIFARLAB_DATA"):
        assert word in output.out


def test_check_says_how_long_a_recipe_takes(
    cifarlab: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "_FORECAST_TIME", 0.1)
    output = cifarlab("check", "quickstart", "training.duration=2 epochs", "--data", "digits")
    assert re.search(r"^recipe +images/s +in all +training", output.out, re.M)
    assert re.search(r"^quickstart +[\d,]+ +\d+ s ", output.out, re.M)
    assert "GFLOP/s" not in output.out
    assert not [*tmp_path.iterdir()]
    wrong = cifarlab("check", "quickstart", "optimizer.rate=1")
    assert (wrong.code, wrong.out) == (2, "") and "optimizer.lr" in wrong.err


def test_check_measures_the_machine(cifarlab: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_FORECAST_TIME", 0.1)
    monkeypatch.setattr(machine, "_NETWORKS", ("quickstart",))
    monkeypatch.setattr(machine_speed, "_SIZES", {"cpu": (16, 2)})
    monkeypatch.setattr(machine_speed, "_OPERATION_TIME", 0.001)
    monkeypatch.setattr(machine_speed, "_FILE_SIZE", 2**20)
    output = cifarlab("check", "--benchmark")
    assert (output.code, output.err) == (0, "")
    assert re.search(r"^GFLOP/s +float32 +bfloat16", output.out, re.M)
    assert len(re.findall(r"^3x3 convolution, ", output.out, re.M)) == 4
    assert len(re.findall(r"^  its (image|weight) gradient", output.out, re.M)) == 8
    assert re.search(r"written at [\d,]+ MB/s", output.out)
    assert re.search(r"^quickstart +[\d,]+", output.out, re.M)


def test_train_then_evaluate(cifarlab: Command, tmp_path: Path) -> None:
    output = cifarlab("train", "quickstart", *SHORT)
    assert (output.code, output.err) == (0, "")
    assert not CONTROL.search(output.out)
    assert output.out.startswith(f"{DIGITS}\nquickstart on digits; cpu, float32; runs/")
    run = Path(re.search(r"^run: (.+)$", output.out, re.M)[1])
    page = Path(re.search(r"^drawing the report ...\nreport: (.+)$", output.out, re.M)[1])
    assert page.read_text(encoding="utf-8").lower().startswith("<!doctype html>")
    result = RunFolder(run).result()
    for split in ("val", "test"):
        assert f"{split} accuracy {100 * result[split]['accuracy']:.2f} % on digits" in output.out
    assert len(re.findall(r"^epoch +\d+/2 ", output.out, re.M)) == 2
    assert RunFolder(run).provenance()["starts"][0]["command"].startswith("cifarlab train")

    evaluated = cifarlab("evaluate", run)
    assert evaluated.code == 0 and evaluated.out.startswith(f"{DIGITS}\n")
    assert f"val accuracy {100 * result['val']['accuracy']:.2f} %" in evaluated.out
    assert not CONTROL.search(evaluated.out)
    rows = [line.split() for line in evaluated.out.splitlines()[3:13]]
    assert [row[0] for row in rows] == [str(digit) for digit in range(10)]


def test_lint_speaks_before_training_and_once(cifarlab: Command) -> None:
    words = ("train", "quickstart", *SHORT, "optimizer.lr=1e-6", "--run", "run")
    first = cifarlab(*words).out.splitlines()
    index = next(k for k, line in enumerate(first) if line.startswith("lint: optimizer.lr=1e-06"))
    assert [line.split()[0] for line in first[index + 1 : index + 4]] == ["why:", "do:", "epoch"]
    RunFolder("run").result_file.unlink()
    assert "lint: " not in cifarlab(*words, "--resume").out


def test_evaluate_test_with_views_is_recorded(cifarlab: Command, copied: RunFolder) -> None:
    output = cifarlab("evaluate", copied.path, "--split", "test", "--tta-views", 2)
    assert output.code == 0 and "test accuracy" in output.out
    opening = copied.provenance()["test_openings"][-1]
    assert opening["command"] == f"cifarlab evaluate {copied.path} --split test --tta-views 2"


def test_extend_and_resume(cifarlab: Command, copied: RunFolder) -> None:
    output = cifarlab(
        "train", "tiny", "--run", copied.path, "--extend", "1 epoch", "--schedule", "hold"
    )
    assert output.code == 0, output.err
    longer = RunFolder(f"{copied.path}+1-epoch-hold")
    assert longer.result()["epochs"] == 4
    longer.result_file.unlink()
    resumed = cifarlab("train", "tiny", "--run", longer.path, "--resume")
    assert resumed.code == 0, resumed.err
    assert "going on after step 44 of 44" in resumed.out


def test_the_short_option_for_data(cifarlab: Command) -> None:
    output = cifarlab("train", "resnet18", "--data", "no-such-place", "--run", "run")
    assert output.code == 2
    assert "no-such-place" in output.err


@pytest.mark.parametrize("name", ["[bold]run", "a[/b]c", "with space"])
def test_a_folders_name_is_printed_as_it_is(
    cifarlab: Command, copied: RunFolder, tmp_path: Path, name: str
) -> None:
    """Brackets are markup to Rich; a path or a class name is none."""
    target = tmp_path / name
    target.parent.mkdir(exist_ok=True)
    copied.result_file.unlink()
    copied.path.rename(target)
    output = cifarlab("train", "tiny", "--run", target, "--resume")
    assert output.code == 0
    assert f"run: {target}" in output.out
    assert f"; {target}" in output.out


def test_class_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    from cifarlab.cli.printing import print_evaluation

    row = {"class": "[red]fox[/]", "n": 1, "correct": 1, "accuracy": 1.0, "interval": [0.2, 1.0]}
    overall = {"accuracy": 1.0, "interval": [0.2, 1.0], "n": 1, "loss": 0.1, "std": 0.0}
    result = {**overall, "per_class": [row], "groups": [{"group": "[b]all[/]", **row}], "top_k": []}
    result |= {"calibration": None, "calibrated": None}
    print_evaluation("val", {"measured": result, "data": "made"})
    output = capsys.readouterr().out
    assert "[red]fox[/]" in output and "[b]all[/]" in output


def test_a_study_and_its_comparison(cifarlab: Command) -> None:
    output = cifarlab("study", "quickstart", "--scale", "0.2", "--n-seeds", "2", "--only", "adamw")
    assert (output.code, output.err) == (0, "")
    assert not CONTROL.search(output.out)
    assert "quickstart: 4 runs to train, 0 are there" in output.out
    assert DIGITS.replace("1,294", "259") in output.out.splitlines()
    assert "Test accuracy in per cent on digits." in output.out
    assert "At scale 0.2: 0.2 of the training images and 0.2 of the epochs." in output.out
    folder = Path(re.search(r"^study: (.+)$", output.out, re.M)[1])
    runs = [path for path in folder.iterdir() if path.is_dir()]
    assert len(runs) == 4
    start = RunFolder(runs[0]).provenance()["starts"][0]
    assert start["command"].startswith("cifarlab study quickstart")

    rows = [p for p in sorted(map(str, runs)) if "adamw" not in p]
    other = [p for p in map(str, runs) if "adamw" in p]
    output = cifarlab("compare", *other, "--against", rows[0], "--out", "out")
    assert output.code == 0, output.err
    assert "the baseline" in output.out and "one pair of runs" in output.out
    assert (Path("out") / "table.md").exists() and "comparison: out" in output.out


def test_studies_are_listed(cifarlab: Command) -> None:
    output = cifarlab("studies")
    assert output.code == 0
    assert [line.split()[0] for line in output.out.splitlines()[1:]] == list(shipped_studies())


def test_searches_are_listed(cifarlab: Command) -> None:
    output = cifarlab("searches")
    assert output.code == 0
    assert [line.split()[0] for line in output.out.splitlines()[1:]] == list(shipped_searches())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("asha2021/clasic",), "asha2021/classic"),
        (("quickstart", "--max-epochs", "30"), "no unit"),
        (("quickstart", "--max-time", "2 hours"), "--max-time '2 h'"),
        (("quickstart", "--sampler", "grid"), "random"),
    ],
)
def test_wrong_options_of_a_search(cifarlab: Command, words: tuple[str, ...], message: str) -> None:
    output = cifarlab("search", *words)
    assert output.code == 2 and message in output.err and not Path("runs").exists()


def test_lint_prints_findings_and_exits_with_0(cifarlab: Command) -> None:
    clean = cifarlab("recipes", "lint", "quickstart")
    assert (clean.code, clean.out) == (0, "quickstart: 0 findings\n")
    adam = ("optimizer.kind=adam", "optimizer.weight_decay=0.1")
    lint = cifarlab("recipes", "lint", "quickstart", *adam)
    assert lint.code == 0
    assert [line.split()[0] for line in lint.out.splitlines()[1:]] == [
        "why:",
        "do:",
        "quickstart:",
    ]


LEAN = """
import sys
import cifarlab
import cifarlab.cli
from typer.testing import CliRunner
for words in (["--help"], ["train", "--help"], ["recipes", "list"], ["recipes", "keys"],
              ["studies"], ["study", "--help"], ["recipes", "lint", "resnet18"]):
    assert CliRunner().invoke(cifarlab.cli.app, words).exit_code == 0, words
print(sorted({"torch", "sklearn", "scipy", "matplotlib"} & set(sys.modules)))
"""


def test_the_command_line_answers_before_torch_is_imported() -> None:
    command = [sys.executable, "-c", LEAN]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "[]\n"


def test_python_m_is_the_command() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "cifarlab", "--help"]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0
    assert "Usage" in process.stdout and not CONTROL.search(process.stdout)
    imported = {line.rpartition("|")[2].strip() for line in process.stderr.splitlines()}
    assert "cifarlab.cli" in imported and "torch" not in imported


def test_plain_output_of_the_tables(cifarlab: Command, finished: RunFolder) -> None:
    printed: list[Callable[[], str]] = [
        lambda: cifarlab("recipes", "keys").out,
        lambda: cifarlab("check").out,
        lambda: cifarlab("evaluate", finished.path).out,
    ]
    assert not any(CONTROL.search(text()) for text in printed)


def test_a_study_with_a_failed_run_exits_with_5(cifarlab: Command) -> None:
    """A script could not tell it from one whose runs all ended well."""
    wild = {"optimizer.lr": 1e30, "schedule.warmup": "0 epochs"}
    rows = [
        {"name": "plain", "recipe": "quickstart"},
        {"name": "wild", "recipe": "quickstart", "overrides": wild},
    ]
    tree = {"n_seeds": 1, "overrides": {"training.duration": "1 epoch"}, "rows": rows}
    Path("mine.yaml").write_text(yaml.safe_dump(tree))
    for _ in range(2):  # what failed before has not mended itself
        output = cifarlab("study", "mine.yaml")
        assert output.code == 5
        assert output.err.startswith("failed: 1 run has failed") and output.err.count("\n") == 2
        assert "wild, seed 0: DivergenceError" in output.out and "study: runs" in output.out
    Path("mine.yaml").write_text(yaml.safe_dump({**tree, "rows": rows[:1]}))
    other = cifarlab("study", "mine.yaml")  # the plan had another row
    assert other.code == 2 and "planned otherwise: with the row wild, too" in other.err
    Path("wild.yaml").write_text(yaml.safe_dump({**tree, "rows": rows[1:]}))
    alone = cifarlab("study", "wild.yaml")
    assert alone.code == 5 and alone.err.startswith("failed: there is nothing to compare")
    Path("plain.yaml").write_text(yaml.safe_dump({**tree, "rows": rows[:1]}))
    assert cifarlab("study", "plain.yaml").code == 0


@pytest.mark.parametrize(("trials", "code"), [(1, 0), (3, 5)])
def test_a_search_with_a_failed_trial_exits_with_5(
    cifarlab: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trials: int, code: int
) -> None:
    search, folder = made(tmp_path, trials)  # its trial 1 failed
    searched = FinishedSearch(folder, read_results(search, 1.0, folder), None, [])
    monkeypatch.setattr("cifarlab.experiments.search.engine.run_search", lambda *_, **__: searched)
    output = cifarlab("search", "quickstart")
    assert output.code == code and "search: " in output.out
    assert output.err.startswith("failed: 1 run has failed") == (code == 5)


@pytest.mark.parametrize("words", ["study", "search"])
def test_the_help_names_the_exit_code(cifarlab: Command, words: str) -> None:
    assert "Exits with 5" in cifarlab(words, "--help").out


def test_compare_by_image_prints_intervals_and_flips(cifarlab: Command) -> None:
    for seed in range(3):
        make_images(Path(f"runs/fast-{seed}"), RunPlan(seed=seed, n=400))
        slow = (("optimizer.lr", 0.01),)
        make_images(Path(f"runs/slow-{seed}"), RunPlan(seed=seed, n=400, skill=2.0, changes=slow))
    output = cifarlab("compare", "runs", "--by", "image", "--margin", "0.2", "--out", "out")
    assert output.code == 0
    for words in ("these test images, other seeds", "became right", "within the margin"):
        assert words in output.out
    tree = json.loads(Path("out/comparison.json").read_text())
    assert len(tree["by_image"][0]["flips"]["classes"]) == 10
    assert Path("out/flips.csv").read_text().count("\n") == 11
    for words in (("--by", "class"), ("--margin", "0"), ("--metric", "seconds", "--by", "image")):
        output = cifarlab("compare", "runs", *words)
        assert output.code == 2 and output.err.startswith("error: ")


@pytest.mark.parametrize("command", ["compare", "draw", "explain", "report", "search", "study"])
def test_a_format_that_there_is_not_is_refused_before_anything_is_done(
    cifarlab: Command, copied: RunFolder, command: str
) -> None:
    words = {
        "compare": ["compare", copied.path, "--out", "compared"],
        "draw": ["recipes", "draw", "quickstart"],
    }
    wanted = {"study": "quickstart", "search": "quickstart"}.get(command, copied.path)
    output = cifarlab(*words.get(command, [command, wanted]), "--figures", "png, jpg")
    assert output.code == 2 and "can't be drawn as 'jpg'" in output.err
    assert "svg, png, pdf" in output.err and list(Path().iterdir()) == [Path("copied")]
