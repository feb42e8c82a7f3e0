"""Arrays as data of ``lab.train``: stored beside the run, and read from anywhere."""

import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cifarlab as lab
from cifarlab.cli import main
from cifarlab.explain.explain_run import explain_run
from cifarlab.recipes.text import fingerprint
from cifarlab.system.errors import DataError, Interrupted


def shades(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """So many dark and light images, and their labels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 100, (2 * n, 12, 12, 3)).astype(np.uint8)
    images[n:] += 120
    return images, np.repeat(["dark", "light"], n)


IMAGES, LABELS = shades(60, 0)


def train(data: Any, **options: Any) -> lab.TrainedRun:
    changes = {"training.duration": "4 epochs"}
    return lab.train("quickstart", changes, data=data, **{"callbacks": (), **options})


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder beside the working folder, which is ``here``."""
    for name in ("here", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "elsewhere"


@pytest.mark.parametrize("move", [False, True])
@pytest.mark.parametrize("data", [(IMAGES, LABELS), ((IMAGES, LABELS), shades(20, 1))])
def test_they_are_read_from_another_folder_and_after_a_move(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, data: Any, move: bool
) -> None:
    run = train(data)
    assert run.accuracy is not None and run.accuracy > 0.9
    path, result = run.path, run.result
    monkeypatch.chdir(elsewhere)
    assert run.evaluate("val").accuracy == result["val"]["accuracy"]
    if move:
        shutil.move(path.parents[1] / "runs", elsewhere / "kept")
        path = Path("kept") / path.name
    loaded = lab.load_run(path)
    assert fingerprint(loaded.recipe) == result["fingerprint"]
    assert loaded.evaluate("test").accuracy == loaded.result["test"]["accuracy"]
    assert list(loaded.predict(IMAGES[:2]).columns) == ["dark", "light"]
    explain_run(loaded.folder)
    assert list(loaded.folder.explained.iterdir())


@pytest.mark.parametrize("move", [False, True])
@pytest.mark.parametrize("by", ["file", "value", "command"])
def test_a_run_on_them_is_resumed_from_another_folder(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, by: str, move: bool
) -> None:
    expected = train((IMAGES, LABELS), run="runs/whole").result["val"]

    class Stop(lab.Callback):
        def on_epoch_end(self, run: Any, line: Any) -> None:
            run.stop.ask("signal", signal.SIGINT)

    with pytest.raises(Interrupted):
        train((IMAGES, LABELS), run="runs/a", callbacks=[Stop()])
    monkeypatch.chdir(elsewhere)
    path = elsewhere.parent / "here" / "runs" / "a"
    if move:
        path = Path(shutil.move(path.parent, elsewhere / "kept")) / "a"
    if by == "command":
        words = ["cifarlab", "train", "quickstart", "--run", str(path), "--resume"]
        monkeypatch.setattr("sys.argv", words)
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 0
    else:
        recipe = str(path / "recipe.yaml") if by == "file" else lab.load_run(path).recipe
        lab.train(recipe, run=path, resume=True, callbacks=())
    assert lab.load_run(path).result["val"] == expected


def test_a_run_on_them_is_called_by_its_own_recipe(elsewhere: Path) -> None:
    run, other = train((IMAGES, LABELS)), train((IMAGES, LABELS[::-1]))
    for each in (run, other):
        assert each.path.name == f"quickstart-s0-{fingerprint(each.recipe)[:8]}"


def test_floats_are_refused(elsewhere: Path) -> None:
    with pytest.raises(DataError):
        train((IMAGES / 255, LABELS))
