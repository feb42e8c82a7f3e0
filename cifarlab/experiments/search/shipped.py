"""The searches that come with cifarlab: asha2021's three, and a small one.

asha2021 gives ranges, not how they were drawn from: rates are drawn log-uniformly, weight decay
uniformly. It gives no settings of ASHA: those of Ray's tutorial are taken, a first rung of one
epoch and halving.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from cifarlab.config.plugins import Plugin
from cifarlab.experiments.search.definition import Search, read_search
from cifarlab.recipes.text import find_or_read

_AUGMENT = {"crop": {"padding": 4}, "hflip": "random", "degrees": 15}
_HALVING = {"kind": "asha", "reduction_factor": 2}


def _chosen(*values: Any, **named: Any) -> dict[str, Any]:
    return {"kind": "choice", "values": named or list(values)}


def _tables(dropout: str, *rates: float) -> dict[str, Any]:
    """What tables 2 and 3 of asha2021 share; where dropout stands depends on the network."""
    return {
        "optimizer.kind": _chosen("sgd", "adam"),
        "optimizer.lr": {"kind": "loguniform", "low": 1e-4, "high": 1e-2},
        "optimizer.weight_decay": {"kind": "uniform", "low": 0.001, "high": 0.01},
        dropout: _chosen(*rates),
        "augment": _chosen(off={}, on=_AUGMENT),
    }


_SEARCHES = (
    {
        "name": "asha2021/classic",
        "about": "Table 2 of asha2021: the classic CNN, 30 trials.",
        "recipe": "asha2021/classic",
        "space": {
            **_tables("model.dropout", 0.1, 0.3, 0.5),
            "model.block": _chosen(
                plain=["conv", "act", "pool"], normalised=["conv", "norm", "act", "pool"]
            ),
            "model.init": _chosen("default", "xavier_uniform"),
            "seed": _chosen(7, 42, 77),
        },
        "scheduler": _HALVING,
    },
    {
        "name": "asha2021/resnet",
        "about": "Table 3 of asha2021: ResNet-18 and 34, 30 trials.",
        "recipe": "asha2021/resnet34",
        "space": {
            **_tables("model.head_dropout", 0.1, 0.3, 0.5),
            "model.depths": _chosen(resnet18=[2, 2, 2, 2], resnet34=[3, 4, 6, 3]),
            "seed": _chosen(7, 42, 77),
        },
        "scheduler": _HALVING,
    },
    {
        "name": "asha2021/schedule",
        "about": "Section 3.1.2 of asha2021: ResNet-34 with a schedule, 10 trials, 50 epochs.",
        "recipe": "asha2021/resnet34-schedule",
        "trials": 10,
        "max_epochs": "50 epochs",
        "space": _tables("model.head_dropout", 0.0, 0.1, 0.3, 0.5),
        "scheduler": _HALVING,
    },
    {
        "name": "quickstart",
        "about": "A minute on the embedded digits: optimizer, rate, momentum where there is one.",
        "recipe": "quickstart",
        "trials": 9,
        "max_epochs": "9 epochs",
        "space": {
            "optimizer.kind": _chosen("sgd", "adam"),
            "optimizer.lr": {"kind": "loguniform", "low": 1e-4, "high": 0.3},
            "optimizer.momentum": {
                "kind": "uniform",
                "low": 0.5,
                "high": 0.97,
                "when": {"optimizer.kind": "sgd"},
            },
        },
    },
)

SEARCHES = {search.name: search for search in map(Search.model_validate, _SEARCHES)}


def find_search(name: str, plugins: Sequence[Plugin] = ()) -> Search:
    """The shipped search of that name, or the one in the YAML file, with ``plugins``.

    Raises UserError.
    """
    read = partial(read_search, plugins=plugins)
    return find_or_read("search", "searches", name, SEARCHES, read).add_plugins(plugins)
