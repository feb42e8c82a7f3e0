"""A folder with everything that the page shows, made up, and a server that shows it."""

import os
import re
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from made_full_run import make_full_run
from made_run import Plan, digits, hundred, make
from made_study import made

from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.study.folder import StudyFolder, write_comparison
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.schemas import as_json
from cifarlab.system.files import write_json

SLOWER = (("optimizer.lr", 0.01), ("training.duration", "8 epochs"))


def make_site(root: Path) -> Path:
    """Runs finished, live, torn; a study; a search; a folder from elsewhere."""
    for seed in range(3):
        make(root / f"cifar-s{seed}", Plan(seed=seed, skill=3.7 + 0.1 * seed))
        kind = make_full_run if seed == 1 else make
        kind(root / f"slow-s{seed}", Plan(seed=seed, skill=3.2, changes=SLOWER))
    make(root / "digits", digits())
    make(root / "hundred", hundred())
    make(root / "live", Plan(finished=False, epochs=20))
    torn = make(root / "torn", Plan(n=200))
    (torn / "result.json").write_text('{"recipe": "made/up", "te')
    (root / "photos").mkdir()
    (root / "photos" / "cat.jpg").write_bytes(b"no image")
    make_study(root / "studies" / "made")
    make_search(root / "searches" / "rates")
    return root


def make_of_recipe(path: Path, recipe: str) -> None:
    """A run under the name of a recipe."""
    folder = RunFolder(make(path, Plan()))
    write_json(folder.result_file, (folder.result() or {}) | {"recipe": recipe})


def make_study(path: Path) -> None:
    make(path / "base-s0", digits())
    comparison, folder = made(), StudyFolder(path)
    failure = {"kind": "DivergenceError", "what": "the loss became NaN at step 3"}
    runs = [
        {"row": "base", "seed": 0, "state": "finished", "run": "base-s0", "failure": None},
        {"row": "failed", "seed": 0, "state": "failed", "run": None, "failure": failure},
    ]
    study = {"name": "made/up", "about": "Is better really better?"}
    folder.write({"study": study, "runs": runs, "comparison": as_json(comparison)})
    write_comparison(comparison, path)


def make_search(path: Path) -> None:
    make(path / "trial-000", digits())
    (path / "figures").mkdir()
    shutil.copy(path.parents[1] / "studies" / "made" / "figure.svg", path / "figures" / "a-b.svg")
    (path / "figures" / "rungs.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="309.6pt" height="200pt"/>'
    )
    rungs = [{"rung": 4, "n_reached": 5, "n_stopped": 3, "cutoff": 0.45}]
    importance = {"key": "optimizer.lr", "fraction": 0.9, "low": 0.7, "high": 1.0, "chance": 0.4}
    selection_bias = {
        "trial": 0,
        "score": 0.97,
        "n": 1,
        "mean": 0.96,
        "excess": 0.01,
        "interval": None,
    }
    finalists = {"comparison": as_json(made()), "selection_bias": [selection_bias]}
    results = {"rungs": rungs, "importance": [importance], "finalists": finalists}
    about = {"name": "made/rates", "about": "Which rate?"}
    SearchFolder(path).write({"search": about, "results": results})
    (path / "search.jsonl").write_text(
        '{"event": "drawn", "trial": 0, "params": {"optimizer.lr": 0.05}}\n'
        '{"event": "drawn", "trial": 1, "params": {"optimizer.lr": 0.9}}\n'
        '{"event": "rung", "trial": 1, "rung": 4, "epoch": 4, "score": 0.431, "cutoff": 0.45, '
        '"rank": 3, "n_reached": 5, "stopped": true}\n'
        '{"event": "ended", "trial": 0, "stop_reason": "planned", "epochs": 12, "score": 0.97, '
        '"failure": null}\n'
        '{"event": "ended", "trial": 1, "stop_reason": "stopped", "epochs": 4, "score": 0.431, "fai'
    )


def grow(run: Path, accuracy: float) -> int:
    """One more epoch in a run's metrics log, as a training writes it; its number."""
    metrics = RunFolder(run).metrics
    epoch = len(metrics.read()) + 1
    score = {"loss": 0.1, "accuracy": accuracy}
    cost = {"train_seconds": 5.0, "evaluate_seconds": 1.0, "images_per_second": 99.0}
    metrics.append(
        {"epoch": epoch, "step": 352 * epoch, "lr": 0.01, "train": score, "val": score}
        | {"cost": cost}
    )
    return epoch


class Server:
    """``cifarlab dashboard`` as a user starts it; ``address`` is what it prints."""

    def __init__(self, root: Path, *options: str, cwd: Path, **environment: str) -> None:
        words = [
            sys.executable,
            "-m",
            "cifarlab",
            "dashboard",
            str(root),
            "--no-open",
            "--port",
            "0",
        ]
        hidden = ("PYTEST_CURRENT_TEST", "CIFARLAB_DASHBOARD_PASSWORD")
        known = {key: value for key, value in os.environ.items() if key not in hidden}
        self.process = subprocess.Popen(
            [*words, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=cwd,
            env={**known, **environment},
        )
        line = self._line(60)
        match = re.search(r"http://\S+/", line)
        assert match, f"the page did not start: {line}{self.process.stdout.read()}"
        self.address = match[0].rstrip("/")

    def _line(self, seconds: float) -> str:
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        assert ready, "the page says nothing"
        return self.process.stdout.readline()

    def stop(self, signum: int = signal.SIGINT) -> tuple[int, str]:
        """End it as Ctrl-C does: exit code, and what it printed after its address."""
        self.process.send_signal(signum)
        rest, _ = self.process.communicate(timeout=20)
        return self.process.returncode, rest
