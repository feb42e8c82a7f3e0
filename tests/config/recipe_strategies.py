"""Arbitrary valid recipes, read off the schema: a new key takes part without a change here."""

import re
from collections.abc import Callable
from itertools import cycle, islice
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cifarlab.augment.config import Augment
from cifarlab.augment.kinds import Crop, CropSettings
from cifarlab.config.duration import Duration, WallTime
from cifarlab.config.family import Family
from cifarlab.data.config import Fold, ImagePolicy
from cifarlab.data.label_noise import MatrixNoise
from cifarlab.data.samplers import WeightsSampler
from cifarlab.models.airbench import AirbenchConfig
from cifarlab.models.cnn import CNNConfig
from cifarlab.models.configs import WhiteningConfig
from cifarlab.models.resnet import ResNetConfig
from cifarlab.optim.optimizers import SGD, AuxSGD, Muon
from cifarlab.recipes.schema import Combination, EvaluationConfig, Recipe, SelectiveBackprop

Agree = Callable[[dict[str, Any]], dict[str, Any]]

lengths = st.one_of(
    st.integers(1, 10**6).map("{} steps".format),
    st.integers(1, 10**6).map(lambda n: f"{n / 1000:g} epochs"),
)
durations = lengths | st.integers(0, 1000).map(lambda n: f"{n / 1000:g} of the run")


def recipes() -> st.SearchStrategy[dict[str, Any]]:
    """Trees of plain values that ``build`` accepts."""
    return part(Recipe).map(lambda tree: tree | {"plugins": []})  # these would be files


def part(schema: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    """A tree for one part of the schema, all keys given."""
    fields = {name: _field(f) for name, f in schema.model_fields.items()}
    for name in {"duration", "step_size", "every", "period"} & fields.keys():
        if schema.model_fields[name].annotation is Duration:
            fields[name] = lengths
    return st.fixed_dictionaries(fields).map(_AGREE.get(schema, lambda tree: tree))


def _field(field: FieldInfo) -> st.SearchStrategy[Any]:
    return _value(field.annotation, field.metadata)


def _value(annotation: Any, metadata: list[Any]) -> st.SearchStrategy[Any]:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        field = FieldInfo.from_annotation(annotation)
        return _value(field.annotation, field.metadata)
    if origin is Literal:
        return st.sampled_from(args)
    if origin in (Union, UnionType):
        return st.one_of([_value(a, metadata) for a in args])
    if origin is dict:
        return st.dictionaries(_value(args[0], []), _value(args[1], []), max_size=3)
    if origin is tuple and args[-1] is not Ellipsis:
        return st.tuples(*[_value(a, []) for a in args]).map(list)
    if origin is tuple:
        least, most = _bound(metadata, "min_length", 0), _bound(metadata, "max_length", 4)
        return st.lists(_value(args[0], []), min_size=least, max_size=most)
    return _plain(annotation, metadata)


def _plain(annotation: type, metadata: list[Any]) -> st.SearchStrategy[Any]:
    if annotation is Duration:
        return durations
    if annotation is WallTime:
        return st.integers(1, 10**4).map("{} min".format)
    if annotation is NoneType:
        return st.none()
    if annotation is bool:
        return st.booleans()
    if annotation is str:
        pattern = _bound(metadata, "pattern", None)
        if pattern:
            names = st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True)
            return names.filter(lambda name: len(name) <= 120)
        return st.text(min_size=1, max_size=12)
    if issubclass(annotation, Family) and not annotation.is_kind():
        return st.one_of([part(kind) for kind in annotation.kinds().values()])
    low, above = _bound(metadata, "ge", None), _bound(metadata, "gt", None)
    high, below = _bound(metadata, "le", None), _bound(metadata, "lt", None)
    if annotation is int:
        return st.integers(low, 2**63 - 1 if high is None else high)
    if annotation is float:
        return st.floats(
            low if above is None else above,
            high if below is None else below,
            exclude_min=above is not None,
            exclude_max=below is not None,
            allow_nan=False,
            allow_infinity=False,
        )
    return part(annotation)


def _bound(metadata: list[Any], name: str, missing: Any) -> Any:
    values = [value for m in metadata if (value := getattr(m, name, None)) is not None]
    return values[0] if values else missing


def _stages_agree(tree: dict[str, Any]) -> dict[str, Any]:
    stages = len(tree["depths"])
    for name, filler in (("channels", [8]), ("strides", [1])):
        tree[name] = list(islice(cycle(tree[name] or filler), stages))
    if len(tree["dropout"]) > 1:
        tree["dropout"] = list(islice(cycle(tree["dropout"]), stages))
    layers = [step for step in tree["order"] if step not in ("conv", "add")]
    tree["order"] = [*layers[:1], "conv", *layers[1:], "conv", "add", "act"]
    tree["shortcut"] = True  # without, some settings would do nothing
    normalizer_free = tree["norm"]["kind"] == "none" and tree["weight_standardization"]
    if normalizer_free:
        tree["order"].pop()
    if not normalizer_free:
        del tree["alpha"]
    tree["input_norm"] = tree["input_norm"] and tree["norm"]["kind"] != "none"
    if tree["weight_standardization"] and tree["init"] == "dirac":
        tree["init"] = "kaiming_normal"
    return _drop_unused_parts(tree, [*tree["order"], *["norm"] * tree["input_norm"]], tree["order"])


def _orders_fit(tree: dict[str, Any]) -> dict[str, Any]:
    tree["block"] = ["conv", *tree["block"]]
    tree["linear_order"] = ["linear", *(s for s in tree["linear_order"] if s != "linear")]
    if tree["norm"]["kind"] == "instance" and "norm" in tree["linear_order"]:
        tree["norm"] = {"kind": "batch"}
    blocks, hidden = len(tree["channels"]), len(tree["hidden_features"])
    if not hidden:
        tree["linear_order"] = ["linear", "act", "dropout"]
    if len(tree["dropout"]) > 1:
        n_values = blocks + (hidden if len(tree["dropout"]) > 2 else min(hidden, 1))
        tree["dropout"] = list(islice(cycle(tree["dropout"]), n_values))
    linear_order = tree["linear_order"] if hidden else []
    everywhere = [step for step in tree["block"] if step in linear_order]
    return _drop_unused_parts(tree, [*tree["block"], *linear_order], everywhere)


def _drop_unused_parts(
    tree: dict[str, Any], of_norm: list[str], of_dropout: list[str]
) -> dict[str, Any]:
    if "norm" not in of_norm and tree["norm"]["kind"] != "none":
        del tree["norm"]
    if "dropout" not in of_dropout:
        del tree["dropout"]
    return tree


def _nesterov_needs_momentum(tree: dict[str, Any]) -> dict[str, Any]:
    return tree | {"nesterov": tree["nesterov"] and tree["momentum"] > 0}


def _depths_fit(tree: dict[str, Any]) -> dict[str, Any]:
    groups = 1 if len(tree["depths"]) == 1 else len(tree["channels"])
    tree["depths"] = list(islice(cycle(tree["depths"]), groups))
    return tree | {"shortcut": tree["shortcut"] and min(tree["depths"]) > 1}


def _nothing_idle(idle: Callable[[dict[str, Any]], bool], *names: str) -> Agree:
    """Leave ``names`` out of trees where they would do nothing."""

    def agree(tree: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in tree.items() if not (idle(tree) and k in names)}

    return agree


def _augment_agrees(tree: dict[str, Any]) -> dict[str, Any]:
    is_affine = any(tree[name] for name in ("degrees", "scale", "translate"))
    if not is_affine and tree["policy"]["kind"] == "none":
        del tree["fill_mode"]
    return _nothing_idle(lambda t: not t["cutout"], "cutout_inside")(tree)


def _tta_needs_views(tree: dict[str, Any]) -> dict[str, Any]:
    tree |= {"tta_threshold": tree["tta_threshold"] if tree["tta_views"] > 1 else None}
    measures_threshold = tree["tta_views"] > 1 and tree["tta_threshold"] is None
    return tree | {"tta_fraction": tree["tta_fraction"] if measures_threshold else 1.0}


def _parts_agree(tree: dict[str, Any]) -> dict[str, Any]:
    if tree["data"]["val_fraction"] == 0:
        tree["evaluation"]["checkpoint"] = "last"
        tree["evaluation"]["tta_fraction"] = 1.0
        tree["training"]["early_stopping"] = None
        for extension in tree["training"]["extensions"]:
            extension["start"] = "last"
        if tree["schedule"]["kind"] == "plateau":
            tree["schedule"] = {"kind": "constant"}
    if tree["model"]["kind"] == "cnn":
        tree["augment"]["progressive_resize"] = []
        tree["training"]["selective_backprop"].pop("image_size", None)
    if tree["augment"]["mix"]["kind"] != "none" and tree["loss"]["kind"] == "focal":
        tree["loss"] = {"kind": "cross_entropy"}
    if not tree["optimizer"].get("momentum"):
        tree["schedule"]["final_momentum"] = None
    return tree


def _rows_are_distributions(tree: dict[str, Any]) -> dict[str, Any]:
    return tree | {"transition_matrix": [[0.5, 0.5], [0.25, 0.75]]}


def _fold_is_one_of_them(tree: dict[str, Any]) -> dict[str, Any]:
    once = dict.fromkeys(index % 10**7 for group in tree["groups"] for index in group)
    return {
        **tree,
        "index": tree["index"] % tree["n_splits"],
        "groups": [[index] for index in once],
    }


_AGREE = {
    Fold: _fold_is_one_of_them,
    MatrixNoise: _rows_are_distributions,
    WeightsSampler: lambda tree: {"kind": tree["kind"]},  # without a file, which would be read
    ResNetConfig: _stages_agree,
    CNNConfig: _orders_fit,
    AirbenchConfig: _depths_fit,
    **dict.fromkeys(
        (Crop, CropSettings), _nothing_idle(lambda tree: not tree["padding"], "padding_mode")
    ),
    Augment: _augment_agrees,
    ImagePolicy: _nothing_idle(lambda tree: tree["size"] is None, "resize_mode"),
    WhiteningConfig: _nothing_idle(
        lambda tree: not tree["kernel_size"], "eps", "images", "n_components"
    ),
    SelectiveBackprop: _nothing_idle(lambda tree: tree["keep"] == 1, "start", "image_size"),
    SGD: _nesterov_needs_momentum,
    Muon: _nesterov_needs_momentum,
    AuxSGD: _nesterov_needs_momentum,
    EvaluationConfig: _tta_needs_views,
    Combination: lambda tree: tree | {"method": "soup", "other_models": []},
    Recipe: _parts_agree,
}
