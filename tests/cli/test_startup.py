"""What commands do not wait for: importing torch's compiler takes over a second."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_run import Plan, make
from PIL import Image

from cifarlab.run_folder import index_file
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.index import RunIndex

# Runs a command, then says on standard error what was imported on the way.
WATCHED = """
import sys
from cifarlab.cli import app
sys.argv = ["cifarlab", *sys.argv[1:]]
app(standalone_mode=False)
print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize("words", [["predict", "RUN", "IMAGE"], ["evaluate", "RUN"]], ids=str)
def test_the_compiler_is_not_imported(
    finished: RunFolder, tmp_path: Path, words: list[str]
) -> None:
    image = tmp_path / "7.png"
    Image.fromarray(np.eye(8, dtype=np.uint8) * 200).save(image)
    known = {"RUN": finished.path, "IMAGE": image}
    command = [sys.executable, "-c", WATCHED, *(str(known.get(word, word)) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = {*done.stderr.split()}
    assert done.stdout and "torch" in modules and "torch._dynamo" not in modules


@pytest.mark.parametrize("words", [(), ("--by-recipe",), ("test > 0.1", "--json")], ids=str)
def test_a_list_of_known_runs_imports_only_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Rich and all that a recipe consists of take a third of the second of a list of 5,000 runs."""
    root = tmp_path / "runs"
    make(root / "run-0", Plan(n=20))
    for n in range(1, 210):
        shutil.copytree(root / "run-0", root / f"run-{n}")
    monkeypatch.setattr(index_file, "_GRAIN_NS", -1)
    RunIndex(root, writes=True).listing()
    command = [sys.executable, "-c", WATCHED, "runs", "list", *words, "--folder", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count("run-") >= 200 or "by-recipe" in words[0]
    modules = {*done.stderr.split()}
    rooms = {"torch", "numpy", "yaml", "cifarlab.run_folder.schemas", "cifarlab.recipes"}
    assert modules.isdisjoint(rooms) and "cifarlab.run_folder.index" in modules
    if words != ("--by-recipe",):  # one row is fitted to the terminal
        assert not any(name.split(".")[0] == "rich" for name in modules)
