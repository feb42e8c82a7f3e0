"""Samplers of training images: what an epoch shows, against plain counts, and what is refused."""

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_plugin import known

from cifarlab.data.dataset import ImageNames, Subset
from cifarlab.data.opening import open_data
from cifarlab.data.samplers import BalancedSampler, SamplerConfig, UniformSampler, WeightsSampler
from cifarlab.recipes.catalog import find
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import apply_overrides, build, fingerprint, from_yaml
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import Interrupted, RecipeError
from cifarlab.system.randomness import generator
from cifarlab.training.setup import prepare
from cifarlab.training.train import train

SIZES = (2, 9, 30, 5)


def make_subset(sizes: tuple[int, ...] = SIZES) -> Subset:
    """Images of classes of these sizes: every third image of a split, in a mixed order."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    split_labels = np.zeros(3 * len(labels), dtype=np.int64)
    split_labels[::3] = labels
    images = np.zeros((len(split_labels), 2, 2, 1), dtype=np.uint8)
    return Subset(images, split_labels, np.arange(0, len(split_labels), 3))


def draw_epoch(config: SamplerConfig, subset: Subset, epoch: int = 0) -> list[int]:
    order = config.build(subset)(generator(7, "order", epoch))
    assert order.dtype == torch.int64 and order.shape == (len(subset),)
    assert int(order.min()) >= 0 and int(order.max()) < len(subset)
    return order.tolist()


def labels_of(subset: Subset, positions: list[int]) -> list[int]:
    return subset.labels[subset.indices[positions]].tolist()


def complete_config(tmp_path: Path, config: SamplerConfig) -> SamplerConfig:
    return (
        make_weights_sampler(tmp_path, {"index 3": 2})
        if isinstance(config, WeightsSampler)
        else config
    )


def make_weights_sampler(tmp_path: Path, weights: dict[str, Any]) -> WeightsSampler:
    file = tmp_path / "weights.csv"
    lines = [f"{name},{weight}" for name, weight in weights.items()]
    file.write_text("\n".join(["path,weight", *lines]) + "\n", encoding="utf-8")
    return WeightsSampler(file=str(file)).relocate(tmp_path)


@pytest.mark.parametrize("config", known(SamplerConfig), ids=lambda c: c.kind)
def test_an_epoch_follows_from_its_generator_alone(tmp_path: Path, config: SamplerConfig) -> None:
    config, subset = complete_config(tmp_path, config), make_subset()
    assert draw_epoch(config, subset) == draw_epoch(config, subset) != draw_epoch(config, subset, 1)
    first = config.build(subset)
    first(generator(7, "order", 0))
    assert first(generator(7, "order", 1)).tolist() == draw_epoch(config, subset, 1)


def test_uniform_is_the_permutation_of_old() -> None:
    expected = torch.randperm(46, generator=generator(7, "order", 3)).tolist()
    assert draw_epoch(UniformSampler(), make_subset(), 3) == expected
    assert sorted(expected) == list(range(46))


@pytest.mark.parametrize("sizes", [SIZES, (1, 100), (7, 7, 7), (1, 1, 40), (5,)])
@pytest.mark.parametrize("epoch", range(4))
def test_balanced_shows_every_class_equally_often(sizes: tuple[int, ...], epoch: int) -> None:
    subset = make_subset(sizes)
    positions = draw_epoch(BalancedSampler(), subset, epoch)
    by_class = Counter(labels_of(subset, positions))
    assert len(by_class) == len(sizes)
    assert max(by_class.values()) - min(by_class.values()) <= 1
    times = Counter(positions)
    for label in range(len(sizes)):
        members = [p for p in range(len(subset)) if labels_of(subset, [p]) == [label]]
        counts = [times[position] for position in members]
        assert max(counts) - min(counts) <= 1  # none again before all of its class


def test_balanced_gives_what_is_left_over_to_each_class_in_turn() -> None:
    subset = make_subset((2, 9, 30, 6))  # 47 images, 4 classes
    more = Counter()
    for epoch in range(200):
        counts = Counter(labels_of(subset, draw_epoch(BalancedSampler(), subset, epoch)))
        more.update(label for label, count in counts.items() if count == 12)
    assert sum(more.values()) == 3 * 200 and min(more.values()) > 120


def test_balanced_mixes_the_classes() -> None:
    subset = make_subset((50, 50))
    labels = labels_of(subset, draw_epoch(BalancedSampler(), subset))
    assert 15 < sum(labels[:50]) < 35


def test_weights_are_drawn_in_proportion(tmp_path: Path) -> None:
    subset = make_subset((10,))
    names = [f"index {index}" for index in subset.indices]
    config = make_weights_sampler(tmp_path, {names[0]: 0, names[3]: 4, names[9]: 0.0})
    draw = config.build(subset)
    counts = Counter()
    for epoch in range(2000):
        counts.update(draw(generator(7, "order", epoch)).tolist())
    assert counts[0] == counts[9] == 0
    expected = np.array([0, 1, 1, 4, 1, 1, 1, 1, 1, 0]) / 11
    seen = np.array([counts[position] for position in range(10)]) / counts.total()
    assert np.abs(seen - expected).max() < 0.01


def test_names_are_those_of_the_source(tmp_path: Path) -> None:
    import json

    names = ["cats/1.png", "cats/ü, 2.png", "dogs/1.png"]
    (tmp_path / "names.json").write_text(json.dumps(names), encoding="utf-8")
    images = np.zeros((3, 2, 2, 1), dtype=np.uint8)
    subset = Subset(
        images, np.array([0, 0, 1]), np.array([1, 2]), ImageNames(tmp_path / "names.json")
    )
    config = make_weights_sampler(tmp_path, {'"cats/ü, 2.png"': 0, "cats/1.png": 5})
    assert set(draw_epoch(config, subset)) == {
        1
    }  # the first is no training image, and has no place


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("path,weight\nindex 500,2\n", "no training image is called 'index 500'"),
        ("path,weight\nindex 3,-1\n", "line 2: index 3,-1 is no new image"),
        ("path,weight\nindex 3,nan\n", "line 2"),
        ("path,weight\nindex 3,inf\n", "line 2"),
        ("path,weight\nindex 3,much\n", "line 2"),
        ("path,weight\nindex 3\n", "line 2"),
        ("path,weight\nindex 3,1\n\nindex 3,2\n", "line 4"),
        ("index 3,1\n", "does not begin with a line path,weight"),
        ("", "does not begin"),
        ("path,weight\n" + "".join(f"index {3 * n},0\n" for n in range(46)), "the weight 0"),
        ("path,weight\n" + "".join(f"index {3 * n},2.5\n" for n in range(46)), "the weight 2.5"),
        ("path,weight\nindex 3,1\n", "every image that is trained on the weight 1"),
        ("path,weight\n", "every image that is trained on the weight 1"),
        ("path,weight\nindex 1,2\nindex 2,3\n", "every image that is trained on the weight 1"),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path: Path, text: str, what: str) -> None:
    file = tmp_path / "weights.csv"
    file.write_text(text, encoding="utf-8")
    config = WeightsSampler(file=str(file))
    with pytest.raises(RecipeError, match=what):
        config.build(make_subset())


def test_a_file_is_known_by_its_hash(tmp_path: Path) -> None:
    config = make_weights_sampler(tmp_path, {"index 3": 2})
    file = Path(config.file)
    assert config.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    tree: dict[str, Any] = {"data": {"sampler": {"kind": "weights", "file": str(file)}}}
    recipe = build(tree)
    (tmp_path / "elsewhere").mkdir()
    elsewhere = make_weights_sampler(tmp_path / "elsewhere", {"index 3": 2})
    copied_tree = {"data": {"sampler": {"kind": "weights", "file": elsewhere.file}}}
    assert fingerprint(build(copied_tree)) == fingerprint(recipe), "where it lies decides nothing"
    make_weights_sampler(tmp_path, {"index 3": 3})
    assert fingerprint(build(tree)) != fingerprint(recipe)
    with pytest.raises(RecipeError, match="not the file that the recipe was made with"):
        config.build(make_subset())
    file.unlink()
    with pytest.raises(RecipeError, match="can't read"):
        config.build(make_subset())
    with pytest.raises(RecipeError, match=r"data\.sampler: can't read"):
        build(tree)
    assert build(recipe.model_dump(mode="json")) == recipe  # a run of it can still be looked at
    with pytest.raises(RecipeError, match="is null"):
        build({"data": {"sampler": {"kind": "weights"}}}).data.sampler.build(make_subset())


def test_a_run_shows_what_the_sampler_says(
    tmp_path: Path, tiny: Callable[..., Recipe], finished: RunFolder
) -> None:
    recipe = tiny({"data.sampler.kind": "balanced"})
    run = prepare(recipe, RunFolder(tmp_path / "a"))
    labels = torch.cat([batch.labels for batch in run.loader.epoch(0)])
    counts = labels.bincount()
    assert int(counts.max() - counts.min()) <= 1 and len(labels) == 1294
    assert np.ptp(open_data(recipe.data).training.counts(10)) > 1
    result = train(recipe, RunFolder(tmp_path / "b"))
    assert result["weights_sha256"] != (finished.result() or {})["weights_sha256"]


def test_a_run_by_weights_is_resumed_bit_for_bit(
    tmp_path: Path, tiny: Callable[..., Recipe], end_of: Callable, signal_after: Callable
) -> None:
    config = make_weights_sampler(tmp_path, {"index 3": 200})
    recipe = tiny({"data.sampler": {"kind": "weights", "file": config.file}})
    complete_run, interrupted_run = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "cut")
    train(recipe, complete_run)
    with pytest.raises(Interrupted):
        train(recipe, interrupted_run, callbacks=[signal_after(14)])
    train(from_yaml(interrupted_run.recipe_file), interrupted_run, resume=True)
    assert end_of(interrupted_run) == end_of(complete_run)


def test_a_run_by_weights_that_was_moved_goes_on_without_the_file(
    tmp_path: Path, tiny: Callable[..., Recipe], end_of: Callable, signal_after: Callable
) -> None:
    config = make_weights_sampler(tmp_path, {"index 3": 200})
    recipe = tiny({"data.sampler": {"kind": "weights", "file": config.file}})
    complete_run = RunFolder(tmp_path / "whole")
    train(recipe, complete_run)
    with pytest.raises(Interrupted):
        train(recipe, RunFolder(tmp_path / "cut"), callbacks=[signal_after(14)])
    Path(config.file).unlink()
    (tmp_path / "cut").rename(tmp_path / "moved")
    moved_run = RunFolder(tmp_path / "moved")
    assert fingerprint(moved_run.recipe()) == fingerprint(recipe)
    train(moved_run.recipe(), moved_run, resume=True)
    assert end_of(moved_run) == end_of(complete_run)


def test_a_recipe_file_names_it_relative_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub" / "more").mkdir(parents=True)
    make_weights_sampler(tmp_path / "sub", {"index 3": 2})
    tree = "data: {source: digits, sampler: {kind: weights, file: weights.csv}}"
    (tmp_path / "sub" / "base.yaml").write_text(tree)
    (tmp_path / "sub" / "more" / "same.yaml").write_text("{name: same, base: ../base.yaml}")
    sampler = "{data.sampler: {kind: weights, file: ../other.csv}}"
    other = f"{{name: other, base: ../base.yaml, overrides: {sampler}}}"
    (tmp_path / "sub" / "more" / "other.yaml").write_text(other)
    for name in ("sub/base.yaml", "sub/more/same.yaml"):
        sampler = find(name).data.sampler
        assert Path(sampler.file).resolve() == tmp_path / "sub" / "weights.csv"
        sampler.build(make_subset())
    with pytest.raises(RecipeError, match=r"can't read .*/sub/more/\.\./other\.csv"):
        find("sub/more/other.yaml")


def test_a_setting_of_the_command_line_names_it_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., Recipe]
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = make_weights_sampler(tmp_path, {"index 3": 2})
    assignments = ["data.sampler.kind=weights", "data.sampler.file=weights.csv"]
    assert apply_overrides(tiny(), assignments).data.sampler == expected
