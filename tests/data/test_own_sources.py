"""Sources of a user's own, and arrays: read through the same door as those that are shipped."""

import json
from pathlib import Path

import numpy as np
import pytest
from made_sources import own_plugins

from cifarlab.config.family import allow_plugins
from cifarlab.config.plugins import add_plugin
from cifarlab.data.arrays import StoredArrays, store_arrays
from cifarlab.data.config import Data
from cifarlab.data.opening import open_cached_data, open_data, open_dataset
from cifarlab.data.sources import SourceConfig
from cifarlab.recipes.catalog import usual_images, usual_shape, usual_splits
from cifarlab.recipes.text import apply_overrides, build, change, fingerprint, to_yaml
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import DataError, PluginError, RecipeError
from cifarlab.training.train import train

SHADES = """
from typing import Literal
import numpy as np
from cifarlab.data.sources import Arrays, ArraySourceConfig


class Shades(ArraySourceConfig):
    kind: Literal["plugged-shades"] = "plugged-shades"

    def read(self):
        labels = np.arange(60) % 2
        images = np.full((60, 8, 8, 1), {light}, np.uint8) - labels[:, None, None, None] * 100
        return Arrays(("light", "dark"), (images.astype(np.uint8), labels))
"""


@pytest.fixture(autouse=True)
def _known():
    with allow_plugins(plugin["sha256"] for plugin in own_plugins()):
        yield


def own_source(**settings):
    return SourceConfig.kinds()["made-shades"](**settings)


def own_build(tree):
    return build({"plugins": own_plugins(), **tree})


def shades(count, classes=3, side=8, channels=1, seed=0):
    """What the plug-in's source makes."""
    draws = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    noise = draws.integers(0, 20, (count, side, side, channels))
    return (noise + 60 * labels[:, None, None, None]).astype(np.uint8), labels


def test_an_own_source_is_named_by_its_kind_or_with_settings():
    plain = own_build({"data": {"source": "made-shades"}})
    assert plain.data.source == own_source()
    more = own_build({"data": {"source": {"kind": "made-shades", "count": 99}}})
    assert more.data.source == own_source(count=99)
    assert apply_overrides(plain, ["data.source.count=99"]) == more
    assert (
        apply_overrides(own_build({}), ["data.source=made-shades", "data.source.count=99"]) == more
    )
    overrides = ["data.source.kind=made-shades", "data.source.count=99"]
    assert apply_overrides(own_build({}), overrides) == more
    assert change(more, {"data.source": "digits"}).data.source.kind == "digits"
    assert fingerprint(plain) != fingerprint(more)
    for recipe in (plain, more, own_build({"data": {"source": "/some/where"}})):
        assert build(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ("cifar100", "source: cifar100\n"),
        ("some/folder", "source: some/folder\n"),
        ({"kind": "files", "path": "x.tar"}, "source: x.tar\n"),
        ({"kind": "files", "path": "digits"}, "source: {kind: files, path: digits}\n"),
    ],
    ids=str,
)
def test_a_source_is_written_as_short_as_it_can_be(source, written):
    recipe = own_build({"data": {"source": source}})
    assert written in to_yaml(recipe)
    assert build(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"kind": "made-shade"}, "did you mean 'made-shades'"),
        ({"kind": "made-shades", "many": 1}, "unknown key 'data.source.many'"),
        ({"kind": "made-shades", "count": "x"}, "data.source.count can't be 'x'"),
        (3, "data.source can't be 3: input should be a kind's name, a path or a mapping"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_source_is_named(source, message):
    with pytest.raises(RecipeError) as caught:
        own_build({"data": {"source": source}})
    assert message in str(caught.value)


def test_an_own_source_is_opened_once_for_its_settings_and_kept():
    source = own_source(count=150)
    data = Data(source=source, val_fraction=0.2)
    assert open_cached_data(data) is None
    opened = open_data(data)
    assert opened.dataset.classes == ("dark", "grey", "light")
    assert (len(opened.training), len(opened.validation or ())) == (120, 30)
    assert np.array_equal(opened.dataset.read("train").images, shades(150)[0])
    assert open_cached_data(data).dataset == opened.dataset
    assert open_dataset(own_source(count=151)).fingerprint != opened.dataset.fingerprint


def test_a_plug_in_that_changed_is_read_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    prints = []
    for light in (250, 240):
        (tmp_path / "mine.py").write_text(SHADES.replace("{light}", str(light)))
        plugin = add_plugin("mine.py", tmp_path, named_by_user=True)
        tree = {"plugins": [plugin], "data": {"source": "plugged-shades"}}
        prints.append(open_data(build(tree).data).dataset.fingerprint)
    assert prints[0] != prints[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "float32"}, "the train images are float32, not uint8"),
        ({"names": ("dark", "grey")}, "labels go from 0 to 2, the classes from 0 to 1"),
        ({"names": ("dark", "dark", "grey")}, "3 class names"),
        ({"highest": 1}, "class 'light' has no training image"),
    ],
    ids=str,
)
def test_a_source_that_gives_something_else_is_refused(settings, message):
    with pytest.raises(DataError, match=message):
        open_dataset(own_source(**settings))


def test_what_an_own_source_raises_is_a_two_line_error():
    with pytest.raises(PluginError) as caught:
        open_dataset(own_build({"data": {"source": "made-unread"}}).data.source)
    plugin = Path(__file__).with_name("own_data.py")
    line = plugin.read_text().split("\n").index('        return {}["images"]') + 1
    what = f"kind 'made-unread' fails in {plugin}, line {line}: KeyError: 'images'"
    assert (str(caught.value), caught.value.exit_code) == (f"{what}\nmend it there", 2)
    with pytest.raises(DataError, match=r"made-nothing: read\(\) gives a NoneType"):
        open_dataset(own_build({"data": {"source": "made-nothing"}}).data.source)
    noisy = own_build({"data": {"source": "digits", "label_noise": {"kind": "made-unflipped"}}})
    with pytest.raises(PluginError, match=r"'made-unflipped' fails in .*: RuntimeError: no noise"):
        assert open_data(noisy.data).training


def test_the_recipe_s_image_policy_holds_for_every_source():
    data = own_build(
        {"data": {"source": "made-shades", "images": {"size": 12, "resize_mode": "pad"}}}
    )
    assert open_data(data.data).dataset.image_shape == (12, 12, 1)
    with pytest.raises(DataError, match="is 8x8, not 12x12"):
        open_data(own_build({"data": {"source": "made-shades", "images": {"size": 12}}}).data)
    with pytest.raises(DataError, match="has one kind of labels"):
        open_data(Data(source=own_source(), label_mode="coarse"))


def test_what_is_known_of_a_source_before_it_is_opened(tmp_path):
    stored = store_arrays(tmp_path, (shades(90, 3, 16, 3), shades(9, 3, 16, 3)))
    recipe = own_build({"data": {"source": stored.model_dump(), "val_fraction": 0.1}})
    assert usual_shape(recipe) == ((16, 16, 3), 3)
    assert usual_images(recipe) == 81
    assert usual_splits(recipe) == ("train", "test")
    assert usual_images(own_build({"data": {"source": "digits"}})) == 1294
    coarse = own_build({"data": {"source": "cifar100", "label_mode": "coarse"}})
    assert usual_shape(coarse) == ((32, 32, 3), 20)
    for source in ("cifar10", "some/folder", "made-shades"):
        assert usual_images(own_build({"data": {"source": source}})) == 45_000


@pytest.mark.parametrize("kind", ["made-shades", "arrays"])
def test_own_images_are_trained_on_and_resumed(kind, tiny, tmp_path, end_of, signal_after):
    source = kind
    if kind == "arrays":
        stored = store_arrays(tmp_path / "data", (shades(300), shades(30)))
        source = stored.model_dump()
    recipe = tiny(
        {"plugins": own_plugins(), "data.source": source, "training.duration": "2 epochs"}
    )
    complete_run, interrupted_run = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "cut")
    result = train(recipe, complete_run)
    assert result["test"]["n"] == 30
    with pytest.raises(Exception, match="interrupted"):
        train(recipe, interrupted_run, callbacks=[signal_after(3)])
    train(interrupted_run.recipe(), interrupted_run, resume=True)
    assert end_of(interrupted_run) == end_of(complete_run)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.array([3, 7] * 10), ("3", "7")),
        (np.array([0, 1] * 10, dtype=np.uint8), ("0", "1")),
        (["dog", "cat"] * 10, ("cat", "dog")),
        (np.array(["dog", "cat"] * 10, dtype=object), ("cat", "dog")),
    ],
    ids=str,
)
def test_labels_may_be_any_integers_or_names(tmp_path, labels, classes):
    images = shades(20)[0]
    dataset = open_dataset(store_arrays(tmp_path, (images[..., 0], labels)))
    assert dataset.classes == classes
    split = dataset.read("train")
    assert np.array_equal(split.images, images), "without channels they are grey"
    names = [classes[label] for label in split.labels]
    assert names == [str(label) for label in np.asarray(labels).tolist()]


IMAGES, LABELS = shades(12)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (IMAGES, "data of type ndarray is no pair"),
        ((IMAGES, LABELS, LABELS), "no pair"),
        ((IMAGES / 255, LABELS), "the training images are float64, not uint8"),
        ((IMAGES.transpose(0, 3, 1, 2), LABELS), r"not \(N, H, W, C\)"),
        ((IMAGES.repeat(4, 3), LABELS), r"\(12, 8, 8, 4\), not \(N, H, W, C\)"),
        ((IMAGES[0], LABELS), "the training labels are"),
        ((IMAGES, LABELS[:5]), r"int64 of shape \(5,\), the images are 12"),
        ((IMAGES, LABELS / 2), "labels are float64"),
        ((IMAGES, np.eye(3)[LABELS]), r"of shape \(12, 3\)"),
        ((IMAGES, LABELS * 0), "just one class, '?0"),
        ((IMAGES[:0], LABELS[:0]), "images are none"),
        (((IMAGES, LABELS), (IMAGES, LABELS + 1)), "class 3 is in test but not in training"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrays_that_are_no_data_are_refused(tmp_path, data, message):
    with pytest.raises(DataError, match=message):
        store_arrays(tmp_path, data)
    assert not list(tmp_path.iterdir())


def test_the_content_of_arrays_decides_not_their_folder(tmp_path):
    here, there = (store_arrays(tmp_path / name, (IMAGES, LABELS)) for name in "ab")
    assert here.sha256 == there.sha256
    prints = {fingerprint(own_build({"data": {"source": s.model_dump()}})) for s in (here, there)}
    assert len(prints) == 1
    other = store_arrays(tmp_path / "a", (IMAGES, LABELS[::-1]))
    assert other.folder != here.folder
    assert open_dataset(here).classes == open_dataset(other).classes
    assert fingerprint(own_build({"data": {"source": other.model_dump()}})) not in prints


def test_arrays_that_are_stored_already_are_not_written_again(tmp_path):
    first = store_arrays(tmp_path, (IMAGES, LABELS))
    times = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    assert store_arrays(tmp_path, (IMAGES, LABELS)) == first
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == times


def test_arrays_that_changed_or_went_are_refused(tmp_path):
    source = store_arrays(tmp_path / "a", (IMAGES, LABELS))
    open_dataset(source)
    train_folder = Path(source.folder) / "train"
    np.save(train_folder / "labels.npy", LABELS[::-1])
    with pytest.raises(DataError, match="were changed"):
        open_dataset(source)
    (train_folder / "images.npy").unlink()
    with pytest.raises(DataError, match="can't read the arrays"):
        open_dataset(source)
    with pytest.raises(DataError, match="there is no data source"):
        open_dataset(StoredArrays(folder=str(tmp_path / "b")))


def test_a_folder_of_arrays_made_by_hand_brings_its_validation_split(tmp_path):
    for split, count in (("train", 30), ("val", 6), ("test", 9)):
        (tmp_path / split).mkdir()
        images, labels = shades(count)
        np.save(tmp_path / split / "images.npy", images)
        np.save(tmp_path / split / "labels.npy", labels)
    (tmp_path / "classes.json").write_text(json.dumps(["a", "b", "c"]))
    opened = open_data(Data(source=StoredArrays(folder=str(tmp_path))))
    assert opened.dataset.split_sizes == {"train": 30, "val": 6, "test": 9}
    assert len(opened.validation or ()) == 6
    (tmp_path / "classes.json").write_text("{}")
    with pytest.raises(DataError, match="no list of names"):
        open_data(Data(source=StoredArrays(folder=str(tmp_path))))
