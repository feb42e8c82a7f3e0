"""Kinds of a user's own, from a plug-in file, go through what the shipped ones go through."""

import math
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

from cifarlab.config.base import ROLES
from cifarlab.config.family import allow_plugins, set_kind_owner
from cifarlab.config.findings import RunLength
from cifarlab.config.plugins import add_plugin
from cifarlab.optim.averaging import Averager, AveragingConfig, build_averaging
from cifarlab.optim.group_settings import apply_penalties
from cifarlab.optim.optimizers import SGD, OptimizerConfig, build_optimizer
from cifarlab.optim.schedules import ScheduleConfig, ScheduleState, Segment, lr_factor
from cifarlab.recipes.lint import lint
from cifarlab.recipes.scale import scale_recipe
from cifarlab.recipes.text import build
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import Interrupted, PluginError, RecipeError
from cifarlab.training.train import train

OWN = Path(__file__).with_name("optim_plugin.py")
LENGTH = RunLength(11, 110, 110)
CHOICES = {
    "signs": {"optimizer": {"kind": "signs", "head": {"lr": 0.02, "weight_decay": 0.1}}},
    "sawtooth": {"schedule": {"kind": "sawtooth", "warmup": "5 steps"}},
    "timid": {"schedule": {"kind": "timid"}},
    "chase": {"averaging": {"kind": "chase"}},
    "half": {"averaging": {"kind": "half"}},
}
CHOICES["all"] = {key: value for choice in CHOICES.values() for key, value in choice.items()}


@pytest.fixture(scope="module", autouse=True)
def plugin(tmp_path_factory):
    """The plug-in of optim_plugin.py, whose kinds the recipes of this file know."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        added = add_plugin(str(OWN), named_by_user=True)
        with allow_plugins([added.sha256]):
            yield added


def with_plugin(plugin, tree):
    return build({"plugins": [plugin.model_dump()], **tree})


def tiny_recipe(plugin, tiny, choice):
    return with_plugin(plugin, tiny().model_dump(exclude={"plugins"}) | choice)


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("step", [9, 22])
def test_killed_and_resumed_is_bit_identical(
    plugin, tiny, tmp_path, end_of, signal_after, choice, step
):
    recipe = tiny_recipe(plugin, tiny, choice)
    complete, resumed = RunFolder(tmp_path / "complete"), RunFolder(tmp_path / "resumed")
    train(recipe, complete)
    with pytest.raises(Interrupted):
        train(recipe, resumed, callbacks=[signal_after(step)])
    train(resumed.recipe(), resumed, resume=True)
    assert end_of(resumed) == end_of(complete)
    lines = complete.metrics.read()
    assert lines[-1]["train"]["loss"] < lines[0]["train"]["loss"]


def test_rates_of_a_run_follow_both_sides_of_a_schedule(plugin, tiny, tmp_path):
    folders = [RunFolder(tmp_path / kind) for kind in ("sawtooth", "timid")]
    for folder in folders:
        schedule = {"kind": folder.path.name}
        train(tiny_recipe(plugin, tiny, {"schedule": schedule}), folder)
    sawtooth, timid = ([line["lr"] for line in folder.metrics.read()] for folder in folders)
    assert sawtooth == pytest.approx([0.1 * (1 - 0.5 * 10 / 11)] * 3)
    assert timid[:2] == pytest.approx([0.1, 0.09]) and timid[2] < timid[1]


def kinds_of(family):
    """Each kind of a family with its defaults, the user's among them."""
    return [kind() for kind in family.kinds().values()]


def parameters():
    generator = torch.Generator().manual_seed(0)
    return {role: [nn.Parameter(torch.randn(3, 4, generator=generator))] for role in ROLES}


def test_each_optimizer_takes_settings_of_roles():
    assert "signs" in OptimizerConfig.kinds()
    group = {"lr": 1e-3, "l1": 0.1, "until": "3 steps"}
    for config in kinds_of(OptimizerConfig):
        roles = parameters()
        before = {role: p.detach().clone() for role, (p,) in roles.items()}
        settings = {"kind": config.kind, "norms": group, "head": {"weight_decay": 0}}
        optimizer = build_optimizer(OptimizerConfig.model_validate(settings), roles)
        norms = optimizer.param_groups[2]
        assert [norms[key] for key in ("lr", "peak_lr", "l1")] == [1e-3, 1e-3, 0.1]
        assert [g["weight_decay"] for g in optimizer.param_groups][4] == 0
        sum((p**2).sum() for (p,) in roles.values()).backward()
        apply_penalties(optimizer)
        optimizer.step()
        assert not any(torch.equal(before[role], p) for role, (p,) in roles.items())


with set_kind_owner("0" * 64):  # known to no recipe

    class UnfinishedAveraging(AveragingConfig):
        kind: Literal["unfinished"] = "unfinished"

        def build(self, network, steps_per_epoch, planned_steps):
            return UnfinishedAverager(network)

    class UnfinishedAverager(Averager):
        """Lacks its ``update``."""

    class GrouplessOptimizer(OptimizerConfig):
        kind: Literal["groupless"] = "groupless"

        def build(self, param_groups):
            return torch.optim.Rprop([p for group in param_groups for p in group["params"]])

    class UndecayedOptimizer(OptimizerConfig):
        kind: Literal["undecayed"] = "undecayed"

        def build(self, param_groups):
            return torch.optim.Rprop(param_groups)

    class DerivedSGD(SGD):
        kind: Literal["derived"] = "derived"
        momentum: float = 0.5
        nothing: bool = True

    class EarlyDrop(ScheduleConfig):
        kind: Literal["early-drop"] = "early-drop"

        def factor_at(self, step, total, steps_per_epoch):
            return 1.0 if step < 10 else 1e-3


def test_what_an_optimizer_leaves_out_is_refused():
    with pytest.raises(RecipeError, match="leaves out the settings of its groups"):
        build_optimizer(GrouplessOptimizer(), parameters())
    with pytest.raises(RecipeError, match=r"has no weight decay: 0\.1 would do nothing"):
        build_optimizer(UndecayedOptimizer(weight_decay=0.1), parameters())
    build_optimizer(UndecayedOptimizer(), parameters())


def test_a_shipped_optimizer_can_be_derived_from():
    optimizer = build_optimizer(DerivedSGD(), parameters())
    assert type(optimizer) is torch.optim.SGD and optimizer.defaults["momentum"] == 0.5


def test_each_schedule_is_warmed_up_extended_and_finite():
    assert {"sawtooth", "timid"} <= set(ScheduleConfig.kinds())
    segments = [Segment(110, "planned"), Segment(5, "hold"), Segment(22, "restart")]
    for kind in ScheduleConfig.kinds().values():
        schedule = kind(warmup="10 steps")
        factors = [lr_factor(schedule, step, segments, 11) for step in range(137)]
        assert factors[:10] == [(step + 1) / 10 for step in range(10)]
        assert factors[110:115] == [factors[109]] * 5
        assert factors[115:125] == factors[:10]
        assert all(0 <= factor <= 1 and math.isfinite(factor) for factor in factors)
        state = schedule.update_state(ScheduleState(), 1.0)
        assert state.last_factor == 1.0
        assert schedule.needs_validation or state == ScheduleState()


def test_the_factors_say_whether_the_lr_is_constant():
    constant = {s.kind for s in kinds_of(ScheduleConfig) if s.is_constant(1100, 11)}
    assert constant == {"constant", "plateau", "timid"}


def test_lint_names_a_schedule_that_falls_too_early():
    (finding,) = EarlyDrop().lint(LENGTH)
    what = "after a tenth of the run the learning rate is 0.001 of its peak"
    assert finding.what == f"{what} (schedule.kind=early-drop)"
    assert not list(EarlyDrop().lint(LENGTH._replace(planned_steps=90)))


def test_each_average_is_one_from_its_first_average_on():
    assert {"half", "chase"} <= set(AveragingConfig.kinds())
    for config in kinds_of(AveragingConfig):
        network = nn.Linear(2, 2)
        averager = build_averaging(config, network, 11, 110)
        assert (averager is None) == (config.kind == "none")
        first = config.first_average(11, 110)
        for step in range(first if averager else 0):
            with torch.no_grad():
                network.weight.add_(1.0)
            averager.update(network, step, 110)
        if averager and config.kind != "lookahead":  # which sets the network back to it
            assert not torch.equal(averager.average.weight, network.weight)
        if first:
            with pytest.raises(RecipeError, match=f"averaging.kind={config.kind} would average"):
                build_averaging(config, network, 11, 1)


def test_an_averager_without_its_update_is_refused_before_the_first_step():
    with pytest.raises(PluginError) as caught:
        build_averaging(UnfinishedAveraging(), nn.Linear(2, 2), 11, 110)
    assert "kind 'unfinished' fails in" in caught.value.what and "update" in caught.value.what


def test_plugin_kinds_are_linted_and_scaled(plugin):
    tree = {
        "optimizer": {"kind": "signs", "lr": 9.0},
        "schedule": {"kind": "timid", "patience": 20},
    }
    recipe = with_plugin(plugin, tree | CHOICES["half"])
    assert lint(recipe, 45_000) == []
    short = with_plugin(plugin, {**CHOICES["half"], "training": {"duration": "3 steps"}})
    (finding,) = lint(short, 45_000)
    assert finding.what.startswith("averaging.kind=half would average nothing")
    assert "averaging.every" in finding.hint
    small = scale_recipe(recipe, 0.1)
    assert (small.schedule.patience, small.optimizer) == (2, recipe.optimizer)


def test_a_schedule_that_watches_needs_validation_and_a_momentum_is_not_guessed(plugin):
    for tree, what in (
        (
            {"schedule": {"kind": "timid"}, "data": {"val_fraction": 0}},
            "schedule.kind=timid watches",
        ),
        (
            CHOICES["signs"] | {"schedule": {"final_momentum": 0.5}},
            "needs an optimizer with momentum",
        ),
    ):
        with pytest.raises(RecipeError, match=what):
            with_plugin(plugin, tree)
