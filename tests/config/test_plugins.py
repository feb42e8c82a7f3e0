"""Plug-in files: approved once by hash, found again by their copies, known by who names one."""

import os
import pickle
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml

from cifarlab.config import plugins
from cifarlab.config.plugins import (
    Plugin,
    add_plugin,
    approvals_file,
    approve,
    copy_plugins,
    decisive_plugins,
    is_approved,
    load_plugins,
    plugin_session,
)
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import build, change, fingerprint, from_yaml, to_yaml
from cifarlab.system.errors import PluginError, RecipeError

SLOW = """
from typing import Literal
from cifarlab import ScheduleConfig
class Slow(ScheduleConfig):
    kind: Literal["{kind}"] = "{kind}"
    least: float = 0.5
    def factor_at(self, step, total, steps_per_epoch):
        return self.least
"""


@pytest.fixture(autouse=True)
def new_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is loaded and nothing approved."""
    monkeypatch.setattr(plugins, "_sources", {})
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def write(name: str, kind: str = "slow", more: str = "") -> Path:
    path = Path(name)
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(SLOW.format(kind=kind) + more)
    return path


def recipe_file(name: str = "recipe.yaml", **settings: Any) -> Path:
    Path(name).write_text(yaml.safe_dump({"schedule": {"kind": "slow"}, **settings}))
    return Path(name)


def test_a_file_is_run_only_once_it_was_approved() -> None:
    write("parts/slow.py")
    recipe = recipe_file(plugins=["parts/slow.py"])
    with pytest.raises(PluginError) as caught:
        from_yaml(recipe)
    assert "parts/slow.py (SHA-256 " in caught.value.what
    assert not approvals_file().exists()
    plugin = add_plugin("parts/slow.py", named_by_user=True)
    assert approvals_file().read_text() == f"{plugin.sha256} slow.py\n"
    assert from_yaml(recipe).schedule.kind == "slow"
    approve(plugin)
    assert approvals_file().read_text().count("\n") == 1


def test_trusting_approves_what_a_recipe_brings_and_nothing_later() -> None:
    write("slow.py")
    with plugin_session(trust=True):
        (plugin,) = from_yaml(recipe_file(plugins=["slow.py"])).plugins
    assert is_approved(plugin.sha256)
    write("slow.py", more="# edited\n")
    with pytest.raises(PluginError, match="have not approved"):
        from_yaml(recipe_file(plugins=["slow.py"]))


def test_a_path_is_relative_to_the_file_that_names_it() -> None:
    plugin = add_plugin(str(write("far/away/slow.py")), named_by_user=True)
    recipe = from_yaml(recipe_file("far/recipe.yaml", plugins=["away/slow.py"]))
    assert recipe.plugins == (plugin,)


def test_a_kind_is_known_to_who_names_its_file_alone() -> None:
    plugin = add_plugin(str(write("slow.py")), named_by_user=True)
    with pytest.raises(RecipeError, match=r"schedule.kind can't be 'slow'"):
        build({"schedule": {"kind": "slow"}})
    recipe = Recipe().add_plugins([plugin])
    assert change(recipe, {"schedule.kind": "slow"}).schedule.kind == "slow"
    other = add_plugin(str(write("other.py", more="# another slow\n")), named_by_user=True)
    both = [change(Recipe().add_plugins([p]), {"schedule.kind": "slow"}) for p in (plugin, other)]
    assert type(both[0].schedule) is not type(both[1].schedule)
    assert fingerprint(both[0]) != fingerprint(both[1])


@pytest.mark.parametrize("names", [("slow.py", "other.py"), ("other.py", "slow.py")])
def test_two_files_with_a_kind_of_one_name_are_refused(names: tuple[str, str]) -> None:
    write("slow.py")
    write("other.py", more="# another slow\n")
    both = [add_plugin(name, named_by_user=True) for name in names]
    for use in (
        lambda: change(Recipe().add_plugins(both), {"schedule.kind": "slow"}),
        lambda: from_yaml(recipe_file(plugins=[*names])),
    ):
        with pytest.raises(PluginError) as caught:
            use()
        assert "kind 'slow' is both Slow of " in caught.value.what
        assert all(f"Slow of {name}" in caught.value.what for name in names)


def test_the_hash_decides_and_neither_name_nor_folder() -> None:
    first = add_plugin(str(write("slow.py")), named_by_user=True)
    other = add_plugin(str(write("moved/slower.py")))
    assert first == other and first.file != other.file
    recipes = [Recipe().add_plugins([plugin]) for plugin in (first, other)]
    assert fingerprint(recipes[0]) == fingerprint(recipes[1]) != fingerprint(Recipe())
    assert recipes[0].add_plugins([other]) == recipes[0]


def test_the_copy_is_taken_where_the_file_has_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = add_plugin(str(write("slow.py")), named_by_user=True)
    copy_plugins([plugin], Path("run"))
    recipe = change(Recipe().add_plugins([plugin]), {"schedule.kind": "slow"})
    Path("run/recipe.yaml").write_text(to_yaml(recipe))
    Path("slow.py").rename("gone.py")
    monkeypatch.setattr(plugins, "_sources", {})
    assert from_yaml(Path("run/recipe.yaml")).schedule.model_dump() == recipe.schedule.model_dump()


@pytest.mark.parametrize("approves_all", [False, True])
def test_a_changed_file_is_refused(approves_all: bool) -> None:
    plugin = add_plugin(str(write("slow.py")), named_by_user=True)
    plugins._sources.clear()
    write("slow.py", more="# changed\n")
    with (
        plugin_session(trust=approves_all),
        pytest.raises(PluginError, match=r"slow.py was changed: its SHA-256"),
    ):
        load_plugins([plugin], Path())


def test_an_installed_package_names_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write("slow_package/inner/parts.py")
    Path("slow_package/__init__.py").write_text("raise SystemExit('run unasked')\n")
    Path("slow_package/inner/__init__.py").write_text("raise SystemExit('run unasked')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint("slow-parts", "slow_package.inner.parts", plugins.GROUP)
    monkeypatch.setattr(
        plugins, "entry_points", lambda group, name: [point] if name == point.name else []
    )
    recipe = recipe_file(plugins=["slow-parts"])
    with pytest.raises(PluginError, match=r"inner/parts\.py .* code that you have not approved"):
        from_yaml(recipe)
    assert not approvals_file().exists()
    plugin = add_plugin("slow-parts", named_by_user=True)
    assert is_approved(plugin.sha256) and from_yaml(recipe).schedule.kind == "slow"
    with pytest.raises(PluginError, match="can't read the plug-in other-parts"):
        add_plugin("other-parts", named_by_user=True)


def test_a_plug_in_that_fails_says_where() -> None:
    Path("bad.py").write_text("one = 1\nprint(two)\n")
    with pytest.raises(PluginError, match=r"bad.py fails: NameError: name 'two'"):
        add_plugin("bad.py", named_by_user=True)
    with pytest.raises(PluginError, match="can't be kind 'cosine'"):
        add_plugin(str(write("bad.py", kind="cosine")), named_by_user=True)
    with pytest.raises(PluginError, match=r"can't read the plug-in none\.py"):
        add_plugin("none.py", named_by_user=True)


METHODS = {
    "Model": "build(self, image_shape, classes)",
    "Norm": "build(self, channels, size)",
    "Loss": "build(self, classes, counts)",
    "Optimizer": "build(self, param_groups)",
    "Averaging": "build(self, network, steps_per_epoch, planned_steps)",
    "Metric": "value(self, logits, labels)",
    "Augmentation": "apply(self, images, draws)",
    "Mix": "mix(self, images, seed, epoch, step)",
    "Schedule": "factor_at(self, step, total, steps_per_epoch)",
    "Policy": "operations(self)",
    "Source": "decode(self, path, request)",
    "ArraySource": "read(self)",
    "LabelNoise": "flip(self, labels, classes, indices)",
    "Sampler": "build(self, training)",
    "Callback": "build(self)",
    "TrialSampler": "build(self, seed)",
    "TrialScheduler": "cutoff(self, earlier_scores)",
}
KIND = """
from cifarlab import {0}Config
class Half({0}Config):
    kind: str = "half"
"""


@pytest.mark.parametrize(("base", "method"), METHODS.items())
def test_a_kind_without_the_method_that_makes_it_one(base: str, method: str) -> None:
    Path("half.py").write_text(KIND.format(base))
    with pytest.raises(PluginError) as caught:
        add_plugin("half.py", named_by_user=True)
    assert caught.value.what == f"Half of half.py has no {method}"
    assert "docs/extend.md" in caught.value.hint
    Path("half.py").write_text(KIND.format(base) + f"    def {method}: ...\n")
    assert add_plugin("half.py", named_by_user=True)


@pytest.mark.parametrize("setting", ["least: float", "least: float = Field(gt=0)"])
def test_a_setting_without_a_default(setting: str) -> None:
    more = "    from pydantic import Field\n"
    more += f"    {setting}\n    def factor_at(self, step, total, steps_per_epoch): ...\n"
    Path("bare.py").write_text(KIND.format("Schedule") + more)
    with pytest.raises(PluginError) as caught:
        add_plugin("bare.py", named_by_user=True)
    assert caught.value.what == "Half of bare.py: its setting least has no default"


def test_a_file_name_approves_nothing_else() -> None:
    evil = "0" * 64
    approve(Plugin(file=f"a\n{evil} b.py", sha256="1" * 64))
    assert is_approved("1" * 64) and not is_approved(evil)


def test_what_only_watches_belongs_in_no_recipe() -> None:
    callback = (
        "\nfrom cifarlab import CallbackConfig\nclass C(CallbackConfig):\n    kind: str = {!r}\n"
        "    def build(self): ..."
    )
    both = add_plugin(str(write("both.py", more=callback.format("both"))), named_by_user=True)
    Path("only.py").write_text(callback.format("only"))
    Path("none.py").write_text("import math\n")
    only, none = (add_plugin(name, named_by_user=True) for name in ("only.py", "none.py"))
    assert decisive_plugins([both, only, none]) == (both, none)


def test_named_twice_it_is_there_once() -> None:
    plugin = add_plugin(str(write("slow.py")), named_by_user=True)
    recipe = from_yaml(recipe_file(plugins=["slow.py", "slow.py"]), [plugin])
    assert recipe.plugins == (plugin,)


@pytest.mark.parametrize("entries", [3, ["slow.py", 3], [{"file": "slow.py"}], {"a": 1}])
def test_an_odd_list_is_refused(entries: Any) -> None:
    add_plugin(str(write("slow.py")), named_by_user=True)
    with pytest.raises(RecipeError, match="plugins"):
        from_yaml(recipe_file(plugins=entries))


def test_a_shipped_kind_that_a_plug_in_imports_first_is_everybody_s() -> None:
    write("first.py", more="from cifarlab import CallbackConfig\n")
    script = (
        "from cifarlab.config.plugins import approve_plugins; approve_plugins(['first.py'])\n"
        "from cifarlab import CallbackConfig; print(*CallbackConfig.kinds())"
    )
    env = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=env)
    assert done.stdout == b"tensor-stats tensorboard mlflow wandb trackio\n", done.stderr


def test_a_recipe_takes_its_parts_to_another_process(tmp_path: Path) -> None:
    plugin = add_plugin(str(write("slow.py")), named_by_user=True)
    recipe = change(Recipe().add_plugins([plugin]), {"schedule.kind": "slow"})
    Path("slow.py").unlink()
    read = (
        "import pickle, sys; recipe = pickle.load(sys.stdin.buffer); print(recipe.schedule.least)"
    )
    command = [sys.executable, "-c", read]
    env = {"XDG_CONFIG_HOME": str(tmp_path / "none"), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(command, input=pickle.dumps(recipe), capture_output=True, env=env)
    assert done.stdout == b"0.5\n", done.stderr
