"""Parts of a user's own in Python: named, trusted, and what they raise."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import cifarlab as lab
from cifarlab.recipes.text import fingerprint
from cifarlab.system.errors import PluginError

FILE = str(Path(__file__).parents[1] / "moody_parts.py")
SHORT = {"training.duration": "1 epoch", "training.batch_size": 512}
SPACE = {"optimizer.lr": {"kind": "loguniform", "low": 1e-3, "high": 1e-1}}
ROWS = [{"name": "own", "recipe": "quickstart", "overrides": {"model.kind": "moody"}}]
CALLBACK = """
from cifarlab import CallbackConfig
class Watch(CallbackConfig):
    kind: str = "watch-alone"
    def build(self): ...
"""


@pytest.fixture(autouse=True)
def new_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is loaded and nothing approved."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("cifarlab.config.plugins._sources", {})


def write(name: str, **tree: Any) -> str:
    Path(name).write_text(yaml.safe_dump(tree))
    return name


def test_what_only_watches_changes_no_fingerprint() -> None:
    Path("watch.py").write_text(CALLBACK)
    recipe = lab.Recipe()
    for base in ("quickstart", recipe):
        plain, with_file = (lab.find_recipe(base, plugins=names) for names in ((), ["watch.py"]))
        assert fingerprint(with_file) == fingerprint(plain)
    assert fingerprint(lab.find_recipe(recipe, plugins=[FILE])) != fingerprint(recipe)


def test_a_recipe_s_plug_ins_are_trusted_once() -> None:
    recipe = write("own.yaml", plugins=[FILE], data={"source": "digits"}, model={"kind": "moody"})
    for use in (lab.find_recipe, lab.train):
        with pytest.raises(PluginError, match="in Python trust_plugins=True"):
            use(recipe)
    run = lab.train(recipe, SHORT, run="run", callbacks=(), trust_plugins=True)
    assert run.recipe.model.kind == "moody"
    assert lab.find_recipe(recipe).model.kind == "moody"  # it was approved


@pytest.mark.parametrize("named", [False, True])
def test_a_study_s_plug_ins_are_trusted_or_named(named: bool) -> None:
    study = write("own.yaml", **{} if named else {"plugins": [FILE]}, rows=ROWS, overrides=SHORT)
    options = {"n_seeds": 1, "log": lambda line: None}
    if not named:
        with pytest.raises(PluginError, match="in Python trust_plugins=True"):
            lab.study(study, **options)
    options |= {"plugins": [FILE]} if named else {"trust_plugins": True}
    assert list(lab.study(study, **options).frame.index) == ["own"]


@pytest.mark.parametrize("name", ["sampler", "scheduler"])
def test_a_search_says_where_an_own_part_fails(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    settings = {"recipe": "quickstart", "overrides": {"training.batch_size": 512}, "space": SPACE}
    settings |= {"trials": 1, "max_epochs": "2 epochs", name: {"kind": "moody"}}
    search = write("own.yaml", plugins=[FILE], **settings)
    monkeypatch.setenv("MOODY", name)
    with pytest.raises(PluginError, match=r"a part of your own fails in .*moody_parts.*KeyError"):
        lab.search(search, log=lambda line: None, trust_plugins=True)


def test_a_run_s_own_network_and_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {**SHORT, "model.kind": "moody"}
    run = lab.train("quickstart", changes, plugins=[FILE], run="own", callbacks=())
    plain = lab.train("quickstart", SHORT, run="plain", callbacks=())
    assert lab.compare(run, plain, metric="moody").comparison.metric.name == "moody"
    assert lab.compare(plain, metric="moody", plugins=[FILE]).comparison.metric.name == "moody"
    images = np.zeros((2, 8, 8), np.uint8)
    calls = {
        "network": (lambda: run.predict(images), run.evaluate, lambda: lab.predict(run, images)),
        "metric": (lambda: lab.compare(run, metric="moody"),),
    }
    for name, uses in calls.items():
        monkeypatch.setenv("MOODY", name)
        for use in uses:
            with pytest.raises(PluginError, match=r"fails in .*moody_parts.*KeyError: 'mine'"):
                use()


def test_an_error_in_our_code_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {**SHORT, "model.kind": "moody"}
    run = lab.train("quickstart", changes, plugins=[FILE], run="own", callbacks=())

    def fail(*_: Any) -> None:
        raise KeyError("ours")

    monkeypatch.setattr("cifarlab.evaluation.run_evaluation.measure", fail)
    with pytest.raises(KeyError, match="ours"):
        run.evaluate()
