"""Augmentations, policies and mixes, shipped and of a user's own: what all of them hold to."""

from typing import Literal

import pytest
import torch
from pydantic import Field

from cifarlab.augment.draws import BatchDraws
from cifarlab.augment.kinds import AugmentationConfig
from cifarlab.augment.mixing import MixConfig
from cifarlab.augment.operations import Operation
from cifarlab.augment.pipeline import Augmentation
from cifarlab.augment.policy import PolicyConfig
from cifarlab.recipes.text import build, fingerprint, to_yaml
from cifarlab.runs.folder import RunFolder
from cifarlab.system.errors import RecipeError
from cifarlab.system.randomness import generator
from cifarlab.training.train import train

SHAPE = (12, 12, 3)


class Dim(AugmentationConfig):
    """Each image darker, by a factor of its own."""

    kind: Literal["test-dim"] = "test-dim"
    least: float = Field(0.5, ge=0, le=1, description="the smallest factor")

    def apply(self, images, draws):
        factors = self.least + (1 - self.least) * draws.uniform()
        return images.float() * factors[:, None, None, None]


class Broken(AugmentationConfig):
    """Images of another size."""

    kind: Literal["test-broken"] = "test-broken"

    def apply(self, images, draws):
        return images[:, 1:]


class Inversions(PolicyConfig):
    """Images are inverted, or stay as they are."""

    kind: Literal["test-inversions"] = "test-inversions"

    def operations(self):
        def invert(images, strengths, fill_mode):
            return 255 - images

        return Operation("invert", invert, 1, 1, False), Operation(
            "stay", lambda images, *_: images, 0, 0, False
        )


class Halves(MixConfig):
    """The lower half of another image."""

    kind: Literal["test-halves"] = "test-halves"

    def mix(self, images, seed, epoch, step):
        draws = generator(seed, "mix test-halves", epoch, step)
        partners = torch.randperm(len(images), generator=draws).to(images.device)
        out, middle = images.clone(), images.shape[1] // 2
        out[:, middle:] = images[partners, middle:]
        return out, partners, middle / images.shape[1]


def images_of(count=23, shape=SHAPE):
    draws = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=draws)


def augmented(extra, part=None, epoch=0, step=0, seed=0):
    images = images_of()
    augment = Augmentation(build({"augment": {"extra": extra}}).augment, SHAPE, seed)
    mine = images if part is None else images[part]
    return augment(mine, torch.arange(len(images)), epoch, step, part)


@pytest.mark.parametrize("kind", [k for k in AugmentationConfig.kinds() if k != "test-broken"])
def test_every_augmentation(kind):
    extra = [{"kind": kind}]
    whole, again = augmented(extra), augmented(extra)
    assert whole.shape == (23, *SHAPE)
    assert whole.dtype in (torch.uint8, torch.float32)
    assert torch.equal(whole, again), "the draws are named"
    part = torch.tensor([0, 4, 9, 21])
    assert torch.equal(augmented(extra, part), whole[part]), "a process draws for the whole batch"


def test_draws_of_an_own_kind_are_named_by_it():
    factors = torch.rand(23, generator=generator(3, "augmentation test-dim", 4, 5))
    got = augmented([{"kind": "test-dim", "least": 0}], None, 4, 5, 3)
    assert torch.equal(got, images_of().float() * factors[:, None, None, None])


def test_the_same_kind_twice_draws_twice_and_in_order():
    once = augmented([{"kind": "test-dim"}])
    twice = augmented([{"kind": "test-dim"}, {"kind": "test-dim"}])
    assert (twice / once.clamp(min=1e-3)).flatten(1).amax(1).unique().numel() > 20
    first = augmented([{"kind": "test-dim"}, {"kind": "cutout", "size": 6}])
    last = augmented([{"kind": "cutout", "size": 6}, {"kind": "test-dim"}])
    assert (first == 127).sum() > 23 * 100 > (last == 127).sum()


def test_what_an_augmentation_must_not_do():
    with pytest.raises(RecipeError, match="test-broken makes"):
        augmented([{"kind": "test-broken"}])
    with pytest.raises(RecipeError, match=r"augment\.extra\.1: a square of 12 pixels"):
        augmented([{"kind": "hflip"}, {"kind": "cutout", "size": 12}])


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ([{"kind": "test-dimm"}], "did you mean 'test-dim'"),
        ([{"kind": "test-dim", "least": 2}], "augment.extra.0.least can't be 2"),
        ([{"kind": "test-dim", "most": 2}], "unknown key 'augment.extra.0.most'"),
    ],
    ids=str,
)
def test_what_is_wrong_in_the_list_is_named(tree, said):
    with pytest.raises(RecipeError) as caught:
        build({"augment": {"extra": tree}})
    assert said in str(caught.value)


@pytest.mark.parametrize("kind", PolicyConfig.kinds())
def test_every_policy(kind):
    policy = build({"augment": {"policy": {"kind": kind}}}).augment.policy
    draws = BatchDraws(0, 0, 0, torch.arange(40))
    rounds = policy.sample(draws.size, draws.generator("policy"))
    assert len(rounds) == policy.rounds
    for op_indices, strengths in rounds:
        assert 0 <= op_indices.min() <= op_indices.max() < len(policy.operations())
        largest = torch.tensor([float(policy.max_strength(op)) for op in policy.operations()])
        assert (strengths.abs() <= largest[op_indices] + 1e-6).all()


@pytest.mark.parametrize("kind", MixConfig.kinds())
def test_every_mix(kind):
    mix = build({"augment": {"mix": {"kind": kind}}}).augment.mix
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
        "augment.extra": [{"kind": "test-dim", "least": 0.9}],
        "augment.policy": {"kind": "test-inversions"},
        "augment.mix": {"kind": "test-halves"},
        "training.duration": "2 epochs",
    }
    recipe = tiny(changes)
    assert fingerprint(recipe) != fingerprint(tiny({"training.duration": "2 epochs"}))
    assert "kind: test-dim" in to_yaml(recipe)
    whole, cut = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "cut")
    train(recipe, whole)
    with pytest.raises(Exception, match="interrupted"):
        train(recipe, cut, callbacks=[signal_after(15)])
    train(cut.recipe(), cut, resume=True)
    assert end_of(cut) == end_of(whole)
