"""Augmentations, policies and mixes, shipped and of a user's own: what all of them hold to."""

import re
from pathlib import Path

import pytest
import torch

from cifarlab.augment.draws import BatchDraws
from cifarlab.augment.kinds import AugmentationConfig
from cifarlab.augment.mixing import MixConfig
from cifarlab.augment.pipeline import Augmentation
from cifarlab.augment.policy import PolicyConfig
from cifarlab.config.family import allow_plugins
from cifarlab.config.plugins import add_plugin
from cifarlab.recipes.text import build, fingerprint, to_yaml
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import PluginError, RecipeError
from cifarlab.system.randomness import generator
from cifarlab.training.train import train

SHAPE = (12, 12, 3)
OWN = Path(__file__).with_name("own_augmentations.py")
PLUGINS = []


@pytest.fixture(scope="module", autouse=True)
def _plugin(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        PLUGINS[:] = [add_plugin(str(OWN), named_by_user=True)]
        with allow_plugins(plugin.sha256 for plugin in PLUGINS):
            yield


def augment_of(tree):
    return build({"plugins": PLUGINS, "augment": tree}).augment


def images_of(count=23, shape=SHAPE):
    draws = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=draws)


def augmented(extra, part=None, epoch=0, step=0, seed=0):
    images = images_of()
    augment = Augmentation(augment_of({"extra": extra}), SHAPE, seed)
    mine = images if part is None else images[part]
    return augment(mine, torch.arange(len(images)), epoch, step, part)


@pytest.mark.parametrize("kind", [*AugmentationConfig.kinds(), "made-dim"])
def test_every_augmentation(kind):
    extra = [{"kind": kind}]
    batch, second_call = augmented(extra), augmented(extra)
    assert batch.shape == (23, *SHAPE)
    assert batch.dtype in (torch.uint8, torch.float32)
    assert torch.equal(batch, second_call), "the draws are named"
    shard_indices = torch.tensor([0, 4, 9, 21])
    assert torch.equal(augmented(extra, shard_indices), batch[shard_indices]), (
        "a process draws for the whole batch"
    )


def test_draws_of_an_own_kind_are_named_by_it():
    factors = torch.rand(23, generator=generator(3, "augmentation made-dim", 4, 5))
    got = augmented([{"kind": "made-dim", "least": 0}], None, 4, 5, 3)
    assert torch.equal(got, images_of().float() * factors[:, None, None, None])


def test_the_same_kind_twice_draws_twice_and_in_order():
    once = augmented([{"kind": "made-dim"}])
    twice = augmented([{"kind": "made-dim"}, {"kind": "made-dim"}])
    assert (twice / once.clamp(min=1e-3)).flatten(1).amax(1).unique().numel() > 20
    first = augmented([{"kind": "made-dim"}, {"kind": "cutout", "size": 6}])
    last = augmented([{"kind": "cutout", "size": 6}, {"kind": "made-dim"}])
    assert (first == 127).sum() > 23 * 100 > (last == 127).sum()


def test_extra_puts_an_own_kind_before_a_shipped_one():
    dim, cutout = {"kind": "made-dim", "least": 0}, {"kind": "cutout", "size": 6}
    trees = {"extra": [dim, cutout]}, {"extra": [dim], "cutout": 6}
    images, indices = images_of(), torch.arange(23)
    before, after = (Augmentation(augment_of(t), SHAPE, 0)(images, indices, 0, 0) for t in trees)
    is_square = (before == 127).all(3).flatten(1)
    assert (is_square.sum(1) >= 36).all(), "the square is cut out of the dimmed image"
    assert ((after == 127).all(3).flatten(1).sum(1) < 36).all(), "the square is dimmed, too"


def test_what_an_augmentation_must_not_do():
    with pytest.raises(RecipeError, match="made-broken makes"):
        augmented([{"kind": "made-broken"}])
    with pytest.raises(RecipeError, match=r"augment\.extra\.1: a square of 12 pixels"):
        augmented([{"kind": "hflip"}, {"kind": "cutout", "size": 12}])


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"extra": [{"kind": "made-failing"}]}, "'made-failing' fails in {images @}: Runtime"),
        ({"extra": [{"kind": "made-forgetful"}]}, "'made-forgetful' fails: AttributeError"),
        ({"policy": {"kind": "made-failing-policy"}}, "'policy' fails in {raise Val}: ValueError"),
        ({"mix": {"kind": "made-failing-mix"}}, "'made-failing-mix' fails in {1 / 0}: Zero"),
    ],
    ids=str,
)
def test_what_an_own_kind_raises_is_a_two_line_error(part, message, tiny, tmp_path):
    plugins = [plugin.model_dump() for plugin in PLUGINS]
    changes = {f"augment.{key}": value for key, value in part.items()}
    with pytest.raises(PluginError) as caught:
        train(tiny({"plugins": plugins, **changes}), RunFolder(tmp_path / "run"))
    lines = OWN.read_text().split("\n")
    for code in re.findall("{(.*)}", message):
        [number] = [n for n, line in enumerate(lines, 1) if code in line]
        message = message.replace(f"{{{code}}}", f"{OWN}, line {number}")
    assert caught.value.what.startswith(f"kind {message}")
    assert caught.value.exit_code == 2 and len(str(caught.value).split("\n")) == 2


def test_what_fails_in_our_code_stays_as_it_is(monkeypatch):
    monkeypatch.setattr("cifarlab.augment.transforms.flip", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        augmented([{"kind": "hflip"}])


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([{"kind": "made-dimm"}], "did you mean 'made-dim'"),
        ([{"kind": "made-dim", "least": 2}], "augment.extra.0.least can't be 2"),
        ([{"kind": "made-dim", "most": 2}], "unknown key 'augment.extra.0.most'"),
    ],
    ids=str,
)
def test_what_is_wrong_in_the_list_is_named(tree, message):
    with pytest.raises(RecipeError) as caught:
        augment_of({"extra": tree})
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", [*PolicyConfig.kinds(), "made-inversions"])
def test_every_policy(kind):
    policy = augment_of({"policy": {"kind": kind}}).policy
    draws = BatchDraws(0, 0, 0, torch.arange(40))
    rounds = policy.sample(draws.size, draws.generator("policy"))
    assert len(rounds) == policy.rounds
    for op_indices, strengths in rounds:
        assert 0 <= op_indices.min() <= op_indices.max() < len(policy.operations())
        largest = torch.tensor([float(policy.max_strength(op)) for op in policy.operations()])
        assert (strengths.abs() <= largest[op_indices] + 1e-6).all()


@pytest.mark.parametrize("kind", [*MixConfig.kinds(), "made-halves"])
def test_every_mix(kind):
    mix = augment_of({"mix": {"kind": kind}}).mix
    images = images_of()
    before, outcomes = images.clone(), [mix.mix(images, 0, 0, step) for step in (0, 0, 1)]
    assert torch.equal(images, before)
    for changed, partners, lam in outcomes:
        assert changed.shape == images.shape
        assert 0 <= lam <= 1
        assert (partners is None) == (lam == 1)
    assert torch.equal(outcomes[0][0], outcomes[1][0])
    assert mix.mixes != torch.equal(outcomes[0][0], outcomes[2][0])


def test_own_kinds_are_trained_on_and_resumed(tiny, tmp_path, end_of, signal_after):
    changes = {
        "plugins": [plugin.model_dump() for plugin in PLUGINS],
        "augment.extra": [{"kind": "made-dim", "least": 0.9}],
        "augment.policy": {"kind": "made-inversions"},
        "augment.mix": {"kind": "made-halves"},
        "training.duration": "2 epochs",
    }
    recipe = tiny(changes)
    assert fingerprint(recipe) != fingerprint(tiny({"training.duration": "2 epochs"}))
    assert "kind: made-dim" in to_yaml(recipe)
    complete_run, interrupted_run = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "cut")
    train(recipe, complete_run)
    with pytest.raises(Exception, match="interrupted"):
        train(recipe, interrupted_run, callbacks=[signal_after(15)])
    train(interrupted_run.recipe(), interrupted_run, resume=True)
    assert end_of(interrupted_run) == end_of(complete_run)
