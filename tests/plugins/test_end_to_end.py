"""One file with parts of somebody's own, through every command and every kind of process."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from cifarlab.cli import main
from cifarlab.config import plugins
from cifarlab.dashboard.index import Index
from cifarlab.run_folder.folder import RunFolder

PARTS = Path(__file__).with_name("own_parts.py")
RECIPE = {
    "name": "own",
    "plugins": ["parts/own_parts.py"],
    "data": {"source": {"kind": "own-bars"}},
    "augment": {"extra": [{"kind": "own-stripes"}]},
    "model": {"kind": "own-net"},
    "optimizer": {"kind": "own-sign"},
    "schedule": {"kind": "own-triangle"},
    "loss": {"kind": "own-loss"},
    "evaluation": {"metric": {"kind": "own-margin"}, "checkpoint": "best"},
    "training": {"duration": "8 epochs", "batch_size": 32, "precision": "float32"},
}
NOTES = {"kind": "own-notes", "file": "seen.txt"}


class Desk:
    """A folder with the plug-in and a recipe, and the command line in processes of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "parts").mkdir()
        shutil.copy(PARTS, path / "parts")
        self.write("own.yaml", RECIPE)

    def write(self, name: str, tree: dict[str, Any]) -> None:
        (self.path / name).write_text(yaml.safe_dump(tree, sort_keys=False))

    def env(self, home: str) -> dict[str, str]:
        return {name: str(self.path / home) for name in ("HOME", "XDG_CONFIG_HOME")}

    def start(self, *words: object, before: Sequence[str] = ()) -> "subprocess.Popen[str]":
        """The command line in a process of its own."""
        command = [sys.executable, "-m", *before, "cifarlab", *map(str, words)]
        env, pipe = {**os.environ, **self.env("home")}, subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.path, env=env, stdout=pipe, stderr=pipe, text=True
        )

    def run(self, *words: object, code: int = 0, home: str = "home") -> tuple[str, str]:
        """The command line in this process, which forgets what plug-ins it has loaded."""
        out, err, exit_code = io.StringIO(), io.StringIO(), None
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(self.path)
            patch.setattr(plugins, "_sources", {})
            patch.setattr(sys, "argv", ["cifarlab", *map(str, words)])
            for name, value in self.env(home).items():
                patch.setenv(name, value)
            try:
                main()
            except SystemExit as stop:
                exit_code = stop.code
        assert exit_code == code, f"{words}\n{out.getvalue()}\n{err.getvalue()}"
        return out.getvalue(), err.getvalue()

    def wait(self, process: "subprocess.Popen[str]") -> str:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, f"{out}\n{err}"
        return out

    def folder(self, name: str) -> RunFolder:
        return RunFolder(self.path / name)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """The parts approved and a run trained with them; then their file has moved away."""
    desk = Desk(tmp_path_factory.mktemp("desk"))
    _, err = desk.run("train", "own.yaml", code=2)
    assert "parts/own_parts.py (SHA-256 " in err and "--trust-plugins" in err
    desk.run(
        *("train", "own.yaml", "--plugin", "parts/own_parts.py"),
        *("--callback", "own-notes", "--run", "whole"),
    )
    yield desk


def test_a_run_has_its_copy_and_names_its_callbacks(desk: Desk) -> None:
    run = desk.folder("whole")
    (copy,) = (run.path / "plugins").iterdir()
    assert copy.read_bytes() == PARTS.read_bytes()
    assert len((run.path / "notes.txt").read_text().splitlines()) == 8
    names = json.loads(run.provenance_file.read_text())["starts"][0]["callbacks"]
    assert any(
        name.startswith("cifarlab_plugin_") and name.endswith(".LossNotes") for name in names
    )
    assert run.result()["val"]["accuracy"] > 0.6
    assert run.metrics.read()[0]["val"]["own-margin"] is not None


def test_killed_and_resumed_is_bit_identical_and_a_callback_changes_no_bit(
    desk: Desk, end_of: Callable
) -> None:
    run = desk.folder("killed")
    process = desk.start("train", "own.yaml", "--run", "killed")
    while not run.metrics.read():
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not run.is_finished
    (desk.path / "parts").rename(desk.path / "elsewhere")  # the run's own copy is enough
    desk.run("train", "own", "--run", "killed", "--resume")
    (desk.path / "elsewhere").rename(desk.path / "parts")
    assert end_of(run) == end_of(desk.folder("whole"))


def test_a_study_in_processes(desk: Desk) -> None:
    rows = [
        {"name": "own", "recipe": "own.yaml"},
        {"name": "sgd", "recipe": "own.yaml", "overrides": {"optimizer.kind": "sgd"}},
    ]
    desk.write(
        "study.yaml",
        {"plugins": ["parts/own_parts.py"], "callbacks": [NOTES], "n_seeds": 2, "rows": rows},
    )
    out, _ = desk.run("study", "study.yaml", "--jobs", "2")
    assert "4 runs to train" in out
    folder = desk.path / "runs/studies/study"
    assert len(list(folder.glob("*/result.json"))) == len(list(folder.glob("*/seen.txt"))) == 4
    desk.run("compare", folder)
    desk.run("report", *folder.glob("own-*"), "--out", desk.path)


def test_a_search_in_processes(desk: Desk) -> None:
    space = {
        "optimizer.kind": {"kind": "choice", "values": ["own-sign", "sgd"]},
        "optimizer.lr": {"kind": "loguniform", "low": 1e-3, "high": 1e-1},
    }
    desk.write(
        "search.yaml",
        {
            "plugins": ["parts/own_parts.py"],
            "callbacks": [NOTES],
            "recipe": "own.yaml",
            "sampler": {"kind": "own-random"},
            "scheduler": {"kind": "own-best"},
            "max_epochs": "2 epochs",
            "trials": 4,
            "space": space,
        },
    )
    out = desk.wait(desk.start("search", "search.yaml"))
    assert "drawn by own-random, stopped by own-best" in out
    folder = desk.path / "runs/searches/search"
    assert len(list(folder.glob("*/seen.txt"))) == 4
    events = [json.loads(line) for line in (folder / "search.jsonl").read_text().splitlines()]
    rungs = [event for event in events if event["event"] == "rung"]
    assert len(rungs) == 4 and not rungs[0]["stopped"]
    for n, rung in enumerate(rungs):
        assert rung["stopped"] == (rung["score"] < max(r["score"] for r in rungs[: n + 1]))
    desk.run("train", folder / "best.yaml", "--run", "best")


def test_two_processes_of_one_run(desk: Desk) -> None:
    torchrun = "torch.distributed.run --standalone --local-addr 127.0.0.1 --nproc-per-node 2 -m --"
    words = ("train", "own.yaml", "--plugin", "parts/own_parts.py", "--run", "two")
    desk.wait(desk.start(*words, before=torchrun.split()))
    assert desk.folder("two").provenance()["processes"] == 2
    losses = [
        [line["train"]["loss"] for line in desk.folder(name).metrics.read()]
        for name in ("two", "whole")
    ]
    np.testing.assert_allclose(*losses, rtol=0.05)


@pytest.fixture(scope="module")
def image(desk: Desk) -> Path:
    pixels = np.zeros((8, 8), np.uint8)
    pixels[:, 3] = 200
    Image.fromarray(pixels).save(desk.path / "bar.png")
    return desk.path / "bar.png"


def test_what_looks_at_a_run(desk: Desk, image: Path) -> None:
    (desk.path / "parts").rename(desk.path / "elsewhere")
    desk.run("evaluate", "whole", "--full", "--images", "20")
    desk.run("explain", "whole")
    desk.run("audit", "whole", "--folds", "2")
    out, _ = desk.run("predict", "whole", image, "--format", "csv")
    assert "upright" in out
    desk.run("report", "whole")
    (desk.path / "elsewhere").rename(desk.path / "parts")


def test_recipes_are_shown_with_the_parts(desk: Desk) -> None:
    plugin = ("--plugin", "parts/own_parts.py")
    assert "channels" in desk.run("recipes", "keys", *plugin)[0]
    assert "own-net" not in desk.run("recipes", "keys")[0]
    assert "kind: own-net" in desk.run("recipes", "show", "own.yaml")[0]
    desk.run("recipes", "lint", "quickstart", "model.kind=own-net", *plugin)
    desk.run("recipes", "draw", "own.yaml", *plugin)
    desk.run("audit", "quickstart", "model.kind=own-net", "--folds", "0", *plugin)


def test_what_only_watches_is_in_no_fingerprint(desk: Desk) -> None:
    (desk.path / "watch.py").write_text(WATCH)
    short = ("quickstart", "training.duration=2 steps")
    desk.run("train", *short, "--run", "plain")
    words = ("--plugin", "watch.py", "--callback", "watch", "--run", "watched")
    assert "watched step" in desk.run("train", *short, *words)[0]
    plain, with_callback = (desk.folder(name).result() for name in ("plain", "watched"))
    assert plain["fingerprint"] == with_callback["fingerprint"]
    assert not (desk.path / "watched" / "plugins").exists()


WATCH = """
from typing import Literal
from cifarlab import Callback, CallbackConfig

class Watch(Callback):
    def on_train_end(self, run, result):
        print("watched step", run.state.step)

class WatchConfig(CallbackConfig):
    kind: Literal["watch"] = "watch"
    def build(self):
        return Watch()
"""


def test_somebody_elses_run_is_refused_until_it_is_approved(desk: Desk, image: Path) -> None:
    shutil.copytree(desk.path / "whole", desk.path / "sent")
    commands: list[tuple[object, ...]] = [
        ("evaluate", "sent"),
        ("explain", "sent"),
        ("audit", "sent"),
        ("predict", "sent", image),
        ("report", "sent"),
        ("train", "own", "--run", "sent", "--resume"),
    ]
    for words in commands:
        out, err = desk.run(*words, code=2, home="stranger")
        first, second = err.strip().splitlines()
        assert "sent/plugins/own_parts-" in first and "(SHA-256 " in first
        assert "--trust-plugins" in second and not out
    desk.run("evaluate", "sent", "--trust-plugins", home="stranger")
    desk.run("evaluate", "sent", home="stranger")  # it was approved once
    (copy,) = (desk.path / "sent/plugins").iterdir()
    copy.write_text(copy.read_text() + "\n# changed\n")
    for more in ((), ("--trust-plugins",)):
        _, err = desk.run("evaluate", "sent", *more, code=2, home="stranger")
        assert "was changed: its SHA-256 is" in err.splitlines()[0]


def test_a_list_shows_such_a_run_with_a_note(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(desk.path / "whole", tmp_path / "runs/sent")
    desk.run("train", "quickstart", "training.duration=2 steps", "--run", tmp_path / "runs/mine")
    runs = tmp_path / "runs"
    words = ("report", runs / "sent", runs / "mine", "--out", "page.html")
    desk.run(*words, home="nobody")
    page = (desk.path / "page.html").read_text()
    assert "sent is left out:" in page and "have not approved" in page
    monkeypatch.setattr(plugins, "_sources", {})  # as in a new process
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nobody"))
    index = Index(runs)
    entries = {entry.name: entry for entry in index.listing().runs}
    assert not entries["mine"].note and "SHA-256" in entries["sent"].note
    assert entries["sent"].val is not None and entries["sent"].state(0) == "finished"
    assert [path for path, _ in index.listing().unrecognized_entries] == ["sent"]
    monkeypatch.setenv("XDG_CONFIG_HOME", str(desk.path / "home"))
    assert not any(entry.note for entry in index.listing().runs)


def test_the_dashboard_tries_an_image(desk: Desk, image: Path, monkeypatch: Any) -> None:
    from cifarlab.dashboard.image_prediction import Network

    monkeypatch.setenv("XDG_CONFIG_HOME", str(desk.path / "home"))
    prediction = Network(desk.path / "whole").predict_image(image.read_bytes())
    assert prediction.top_classes[0][0] == "upright" and len(prediction.neighbors) == 8
