"""A network that says nothing about itself, from a plug-in file, goes everywhere that ours go."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign_plugin import PLUGIN, load

from cifarlab import models
from cifarlab.config.family import allow_plugins
from cifarlab.config.plugins import Plugin, approve
from cifarlab.evaluation.features import features
from cifarlab.explain.explain_run import draw_recipe, explain_run
from cifarlab.explain.maps import class_activation_maps, map_shapes
from cifarlab.explain.structure import architecture
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.run_predictor import load_run_predictor
from cifarlab.inference.weights import WeightsFile
from cifarlab.models.build import build_body, count_parameters
from cifarlab.models.classifier import Classifier
from cifarlab.models.network import parameter_roles, stages
from cifarlab.models.norm_configs import NormConfig
from cifarlab.recipes.lint import lint
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import build
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.metrics_log import without_cost
from cifarlab.system.errors import CheckpointError, RecipeError
from cifarlab.training.train import train

NETWORKS = Path(models.__file__).parent
SHAPE = (8, 8, 1)


@pytest.fixture(autouse=True, scope="module")
def approved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        approve(PLUGIN)
        yield


@pytest.fixture(scope="module")
def recipe(tiny: Callable) -> Callable[..., Recipe]:
    """The tiny recipe with another network, given as its whole tree."""

    def make(model: dict[str, Any], plugin: Plugin = PLUGIN, **training: Any) -> Recipe:
        tree = tiny().model_dump(mode="json") | {"model": model, "plugins": [plugin.model_dump()]}
        tree["training"] |= training
        return build(tree)

    return make


@pytest.fixture(scope="module")
def run(recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("foreign") / "run")
    freeze = [{"start": "4 steps", "stages": 2}]
    train(recipe({"kind": "foreign"}, duration="3 epochs", freeze=freeze), folder)
    return folder


def classifier(recipe: Recipe) -> Classifier:
    torch.manual_seed(0)
    return Classifier(build_body(recipe.model, SHAPE, 10), [0.5], [0.5])


def test_it_trains_and_freezes(run: RunFolder, recipe: Callable[..., Recipe]) -> None:
    lines = run.metrics.read()
    assert lines[-1]["val"]["accuracy"] > max(0.2, lines[0]["val"]["accuracy"])
    assert run.result()["parameters"] == count_parameters(run.recipe().model, SHAPE)
    shorter = RunFolder(run.path.parent / "shorter")
    train(recipe({"kind": "foreign"}, duration="4 steps"), shorter)
    at_4, at_33 = (WeightsFile.read(f.weights("last"))[1] for f in (shorter, run))
    unchanged = {name for name in at_4 if torch.equal(at_4[name], at_33[name])}
    frozen = {f"body.{name}" for name in ("stem.weight", "stem.bias", "blocks.0.0.weight")}
    assert frozen <= unchanged
    assert not unchanged & {"body.blocks.1.0.weight", "body.hidden.weight", "body.fc.weight"}


def test_its_stages_are_its_children_without_the_last_layer(
    recipe: Callable[..., Recipe],
) -> None:
    net = classifier(recipe({"kind": "foreign"}))
    names = {p: name.removeprefix("body.") for name, p in net.named_parameters()}
    parts = [{names[p].rpartition(".")[0] for p in part} for part in stages(net)]
    blocks = [{f"blocks.{n}.{layer}" for layer in (0, 1)} for n in (0, 1)]
    assert parts == [{"stem"}, *blocks, {"hidden"}, {"norm"}]
    roles = {role: {names[p] for p in group} for role, group in parameter_roles(net).items()}
    assert roles["head"] == {"fc.weight", "fc.bias"}
    assert {"norm.weight", "norm.bias", "blocks.0.1.weight"} <= roles["norms"]
    assert "hidden.weight" in roles["matrices"] and "hidden.bias" in roles["biases"]


def test_a_wrapped_network_and_a_single_layer() -> None:
    inner = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Conv2d(2, 2, 3))
    wrapped = Classifier(torch.nn.Sequential(torch.nn.Sequential(inner)), [0.5], [0.5])
    assert [len(part) for part in stages(wrapped)] == [2, 2]
    single = Classifier(torch.nn.Linear(3, 2), [0.5], [0.5])
    assert stages(single) == []
    assert [len(parameters) for parameters in parameter_roles(single).values()] == [
        0,
        0,
        0,
        0,
        2,
        0,
    ]


def test_a_shared_parameter_has_one_role() -> None:
    tied = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    parameters = [p for role in parameter_roles(tied).values() for p in role]
    assert len(parameters) == len(set(parameters)) == 3


def test_it_predicts_as_it_was_trained(run: RunFolder, recipe: Callable[..., Recipe]) -> None:
    """Also what no weights file has: a buffer that is not saved, numbers computed on the way."""
    before = torch.get_rng_state()
    predictor = load_run_predictor(run)
    assert torch.equal(torch.get_rng_state(), before)
    assert predictor.classifier.body.scale.item() == 0.5
    images = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), dtype=np.uint8)
    rebuilt = classifier(run.recipe())
    rebuilt.load_state_dict(predictor.classifier.state_dict())
    with torch.no_grad():
        assert torch.equal(predictor.logits(images), rebuilt.eval()(torch.from_numpy(images)))
    assert features(predictor, images).shape == (5, 16)


def test_it_is_explained_and_drawn(run: RunFolder, tmp_path: Path) -> None:
    explained = explain_run(run, layers="all", sanity_check=True, out=tmp_path, formats=["png"])
    assert {"maps", "sanity_check", "filters", "architecture"} <= set(explained.slugs)
    predictor = load_run_predictor(run)
    shapes = {"stem": (4, 8, 8), "blocks.0": (8, 8, 8), "blocks.1": (8, 4, 4)}
    assert map_shapes(predictor) == shapes
    images = np.random.default_rng(0).integers(0, 256, (2, *SHAPE), dtype=np.uint8)
    maps = class_activation_maps(predictor, images, ["stem", "blocks.1"])
    assert all(array.shape[1:] == shapes[name][1:] for name, array in maps.items())
    (figure,) = draw_recipe(run.recipe(), tmp_path)
    assert figure.stat().st_size > 1000


def test_its_drawing_has_its_children_as_stages_and_the_right_numbers(
    recipe: Callable[..., Recipe],
) -> None:
    model = recipe({"kind": "foreign"}).model
    drawing = architecture(model, SHAPE, 10)
    names = ["stem", "blocks.0", "blocks.1", "hidden", "norm", "drop", "fc"]
    assert [stage.name for stage in drawing.stages] == names
    assert drawing.parameters == count_parameters(model, SHAPE)
    convolutions = 64 * 9 * (4 + 4 * 8) + 16 * 9 * 8 * 8
    assert drawing.multiply_adds == convolutions + 32 * 16 + 16 * 10
    assert [s.text for s in drawing.stages[1].blocks[0].steps] == ["3×3", "BN"]


def test_its_weights_need_its_plugin(run: RunFolder) -> None:
    with allow_plugins(()), pytest.raises(RecipeError, match=r"model\.kind can't be 'foreign'"):
        build({"model": {"kind": "foreign"}})
    path = run.weights("last")
    assert Predictor.load(path).classes == tuple("0123456789")
    content = path.read_bytes().replace(PLUGIN.sha256.encode(), b"0" * 64)
    path = run.path / "of_another.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"kind 'foreign', which is not known here\nload the"):
        Predictor.load(path)


def test_linter_and_schema_read_its_answers(recipe: Callable[..., Recipe]) -> None:
    foreign = recipe({"kind": "foreign"})
    assert not [finding for finding in lint(foreign, 1000, ["train"]) if "dropout" in str(finding)]
    with pytest.raises(RecipeError, match=r"any image size: model\.kind=foreign takes one"):
        recipe({"kind": "foreign"}, selective_backprop={"keep": 0.5, "image_size": 4})


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ("classes", r"of one image it makes \(1, 11\), not \(1, 10\)"),
        ("raises", "ValueError: no such thing"),
        ("list", "of one image it makes list, not"),
    ],
)
def test_a_misfit_is_refused(recipe: Callable[..., Recipe], problem: str, message: str) -> None:
    model = recipe({"kind": "misfit", "problem": problem}).model
    for function in (build_body, count_parameters):
        with pytest.raises(RecipeError, match=r"model\.kind=misfit can't be built.*" + message):
            function(model, SHAPE, 10)


@pytest.mark.parametrize("kind", [*NormConfig.kinds(), "max"])
def test_every_normalization_keeps_shapes_and_trains(
    kind: str, recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    """A new kind is tested by existing."""
    tree = {"kind": kind, "num_groups": 2} if kind == "group" else {"kind": kind}
    with allow_plugins([PLUGIN.sha256]):
        norm = NormConfig.kinds()[kind].model_validate(tree)
    torch.manual_seed(0)
    for size in [(3, 5)] if norm.needs_map else [(3, 5), None]:
        x = torch.randn(4, 6, *(size or ()), requires_grad=True)
        out = norm.build(6, size)(x)
        out.square().sum().backward()
        assert out.shape == x.shape and x.grad.isfinite().all()
        assert torch.equal(out, x) != norm.normalizes
    model = {"stem_width": 4, "depths": [1], "channels": [4], "strides": [1], "norm": tree}
    folder = RunFolder(tmp_path / "run")
    result = train(recipe(model, duration="3 steps"), folder)
    about, _ = WeightsFile.read(folder.weights("last"))
    assert about.model.norm == norm and result["steps"] == 3
    assert (PLUGIN.sha256.encode() in folder.weights("last").read_bytes()) == (kind == "max")


COPIED = {
    "resnet": {"stem_width": 4, "depths": [1, 1], "channels": [4, 8], "strides": [1, 2]},
    "cnn": {"channels": [4, 6], "hidden_features": [8], "dropout": 0.1},
    "airbench": {"channels": [4, 6], "shortcut": True},
}


@pytest.mark.parametrize("kind", COPIED)
def test_a_shipped_network_in_a_file_of_ones_own_gives_the_same_bits(
    kind: str, recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    modules, config = (NETWORKS / f"{kind}{end}.py" for end in ("_modules", ""))
    text = f"{config.read_text()}\n\n{modules.read_text()}"
    link = rf"(if TYPE_CHECKING:\n)?^.*from cifarlab\.models\.{kind}(_modules)? import .*\n"
    text = re.sub(link, "", text, flags=re.M)
    text = text.replace(
        f'Literal["{kind}"] = "{kind}"', f'Literal["moved-{kind}"] = "moved-{kind}"'
    )
    file = tmp_path / "moved.py"
    file.write_text(text)
    approve(plugin := load(file))
    ends = []
    for name in (kind, f"moved-{kind}"):
        folder = RunFolder(tmp_path / name)
        freeze = [{"start": "5 steps", "stages": 1}]
        model = {"kind": name, **COPIED[kind]}
        train(recipe(model, plugin, duration="8 steps", freeze=freeze), folder)
        _, tensors = WeightsFile.read(folder.weights("last"))
        ends.append((without_cost(folder.metrics.read()), tensors))
    (metrics, tensors), (metrics_moved, tensors_moved) = ends
    assert metrics_moved == metrics
    assert all(torch.equal(tensors_moved[name], value) for name, value in tensors.items())
    shutil.rmtree(tmp_path / kind)
    assert type(Predictor.load(folder.weights("last")).classifier.body).__module__ != modules.stem
    expected = architecture(build({"model": {"kind": kind, **COPIED[kind]}}).model, SHAPE, 10)
    assert architecture(folder.recipe().model, SHAPE, 10) == expected
