"""Each command ends with one that goes on from there: it exists, is well-formed, and works."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from command_line import Command, Output
from PIL import Image
from typer.main import get_command

from cifarlab.cli import app
from cifarlab.cli.next_command import after_audit, after_compare, after_predict, after_study
from cifarlab.run_folder.folder import RunFolder

SHORT = ("training.duration=4 steps", "--no-tensor-stats")


def proposed(output: Output, *, err: bool = False) -> list[str]:
    """The words of the one line that says what may come next, which is the last."""
    assert output.code == 0, output.err
    text, other = (output.err, output.out) if err else (output.out, output.err)
    lines = text.splitlines()
    assert [line.startswith("next: ") for line in lines] == [False] * (len(lines) - 1) + [True]
    assert "next: " not in other
    words = shlex.split(lines[-1].removeprefix("next: "))
    assert words[0] == "cifarlab"
    require_well_formed(words[1:])
    return words[1:]


def require_well_formed(words: list[str]) -> None:
    """Parse without running: an unknown command or option raises."""
    group = get_command(app)
    with group.make_context("cifarlab", list(words)) as context:
        command = group.get_command(context, words[0])
        assert command, words
        command.make_context(words[0], words[1:], parent=context)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(np.eye(8, dtype=np.uint8) * 200).save(tmp_path / "a 7.png")
    return tmp_path / "a 7.png"


def test_from_training_on_each_command_leads_to_the_next(cifarlab: Command) -> None:
    words = proposed(cifarlab("train", "quickstart", *SHORT, "--run", "runs/a b"))
    seen = [words[0]]
    while words[0] != "dashboard":
        assert words[1:] == ["runs/a b"]
        words = proposed(cifarlab(*words))
        seen.append(words[0])
    assert seen == ["evaluate", "explain", "report", "dashboard"] and words[1:] == ["runs"]


def test_a_run_without_validation_is_explained(cifarlab: Command) -> None:
    words = proposed(cifarlab("train", "quickstart", *SHORT, "data.val_fraction=0", "--run", "a"))
    assert words == ["explain", "a"]
    assert proposed(cifarlab(*words)) == ["report", "a"]


def test_a_full_evaluation_is_in_the_report(cifarlab: Command, copied: RunFolder) -> None:
    words = ("evaluate", copied.path, "--full", "--images", 6)
    assert proposed(cifarlab(*words)) == ["report", str(copied.path)]


def test_several_runs_are_compared(cifarlab: Command, copied: RunFolder) -> None:
    words = ["compare", str(copied.path), str(copied.path)]
    assert proposed(cifarlab("report", copied.path, copied.path)) == words
    kept = proposed(cifarlab(*words))
    assert kept == [*words, "--out", "comparison"]
    assert proposed(cifarlab(*kept)) == ["dashboard", str(copied.path.parent)]
    assert Path("comparison/table.md").exists()


def test_an_audit_leads_to_the_report_or_to_training(cifarlab: Command, copied: RunFolder) -> None:
    output = cifarlab("audit", copied.path, "--folds", 0)
    assert proposed(output) == ["report", str(copied.path)]
    output = cifarlab("audit", "quickstart", "seed=3", "--folds", 0)
    assert proposed(output) == ["train", "quickstart", "seed=3"]
    assert after_audit("runs/a", [], True, Path("elsewhere")) == ("explain", "runs/a")


def test_a_prediction_is_explained(cifarlab: Command, copied: RunFolder, picture: Path) -> None:
    for options in ([], ["--format", "kaggle"], ["--out", "out.csv", "--format", "csv"]):
        words = proposed(cifarlab("predict", copied.path, picture, *options), err=True)
        assert words == ["explain", str(copied.path), str(picture)]
    assert proposed(cifarlab(*words)) == ["dashboard", str(copied.path.parent)]
    run = copied.path
    assert after_predict(run, [picture], "crop")[3:] == ("--resize-mode", "crop")
    assert after_predict(run, [picture, picture], None) == ("explain", run)
    assert after_predict(run, [picture.parent], None) == ("explain", run)


def test_a_study_at_a_scale_leads_to_the_whole_one(cifarlab: Command) -> None:
    words = ("study", "quickstart", "--scale", "0.1", "--n-seeds", "1", "--only", "adamw")
    assert proposed(cifarlab(*words)) == ["study", "quickstart", "--n-seeds", "1"]
    assert after_study("quickstart", 0.1, "photos.zip", until=None) == (
        ("study", "quickstart", "--data", "photos.zip")
    )
    assert after_study("quickstart", 0.1, None, most=9, first_seed=0) == (
        ("study", "quickstart", "--most", 9, "--first-seed", 0)
    )
    assert after_study("quickstart", 1.0, None, n_seeds=3) == ("dashboard",)


def test_a_comparison_of_recipes_that_was_kept() -> None:
    assert after_compare(["quickstart"], None, "accuracy", Path("out")) == ("dashboard",)
    assert after_compare(["a", "b"], "c", "accuracy", None) == (
        ("compare", "a", "b", "--against", "c", "--out", "comparison")
    )
    assert after_compare(["a"], None, "macro_f1", None) == (
        ("compare", "a", "--metric", "macro_f1", "--out", "comparison")
    )
    assert after_compare(["a"], None, "accuracy", None, by="image", margin=0.2) == (
        ("compare", "a", "--by", "image", "--margin", 0.2, "--out", "comparison")
    )


def test_every_command_that_does_something_says_what_is_next() -> None:
    """A search is tried in tests/experiments/search; the others above."""
    root = Path(__file__).parents[2] / "cifarlab" / "cli"
    code = "\n@app\n".join(file.read_text() for file in root.glob("*.py"))
    commands = dict(
        re.findall(r"@app\.command\(.*?\)\n(?:@\w+\n)?def (\w+)(.*?)(?=\n@app|\Z)", code, re.DOTALL)
    )
    silent = {name for name, body in commands.items() if "print_next(" not in body}
    assert silent == {"dashboard", "serve", "check", "studies", "searches"}
