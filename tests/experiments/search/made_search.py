"""A small search, and a search folder as one that was trained leaves it, made without training."""

from pathlib import Path
from typing import Any

from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.folder import SearchFolder

SPACE = {
    "optimizer.kind": {"kind": "choice", "values": ["sgd", "adam"]},
    "optimizer.lr": {"kind": "loguniform", "low": 1e-4, "high": 1e-1},
    "optimizer.momentum": {
        "kind": "uniform",
        "low": 0.5,
        "high": 0.99,
        "when": {"optimizer.kind": "sgd"},
    },
}
TINY = {
    "model.stem_width": 4,
    "model.depths": [1, 1],
    "model.channels": [4, 8],
    "model.strides": [1, 2],
    "training.precision": "float32",
    "training.batch_size": 256,
}


def drawn_event(number: int, params: dict[str, Any]) -> dict[str, Any]:
    """A line of the record: a new trial."""
    return {"event": "drawn", "trial": number, "params": params}


def rung_event(
    number: int, score: float, cutoff: float | None, n_reached: int, stopped: bool
) -> dict[str, Any]:
    """A line of the record: a trial at the rung after the first epoch."""
    event = {"event": "rung", "trial": number, "rung": 1, "epoch": 1, "score": score}
    return {**event, "cutoff": cutoff, "rank": 1, "n_reached": n_reached, "stopped": stopped}


def ended_event(
    number: int, stop_reason: str, epochs: int, score: float | None, failure: Any = None
) -> dict[str, Any]:
    """A line of the record: a trial's end."""
    event = {"event": "ended", "trial": number, "stop_reason": stop_reason, "epochs": epochs}
    return {**event, "score": score, "failure": failure}


def small(**overrides: Any) -> Search:
    """Nine trials of the quickstart, nine epochs at most, rungs at 1 and 3."""
    tree = {
        "name": "made",
        "recipe": "quickstart",
        "trials": 9,
        "max_epochs": "9 epochs",
        "space": SPACE,
    }
    return Search.model_validate({**tree, **overrides})


def made(path: Path, count: int = 12) -> tuple[Search, SearchFolder]:
    """A record and metrics logs: the score depends on the learning rate alone; trial 1 failed."""
    search, folder = small(trials=count), SearchFolder(path / "made")
    folder.path.mkdir(parents=True)
    content = {"search": search.model_dump(mode="json"), "base": {}, "scale": 1.0}
    folder.write(content)
    for number in range(count):
        params: dict[str, Any] = {
            "optimizer.kind": ("sgd", "adam")[number % 2],
            "optimizer.lr": 1e-4 * 10 ** (3 * (number * 7 % count) / count),
        }
        if not number % 2:
            params["optimizer.momentum"] = 0.5 + 0.04 * number
        folder.events.append(drawn_event(number, params))
        _add_end(search, folder, number, params, (number * 7 % count) / count)
    return search, folder


def _add_end(
    search: Search, folder: SearchFolder, number: int, params: dict[str, Any], limit: float
) -> None:
    if number == 1:
        failure = {"kind": "DivergenceError", "what": "NaN at step 3 | b", "hint": "lower it"}
        folder.events.append(ended_event(1, "failed", 0, None, failure))
        return
    stopped = bool(number) and limit < 0.4
    epochs = 1 if stopped else 9
    scores = [0.2 + 0.7 * limit * (1 - 0.5**epoch) for epoch in range(1, epochs + 1)]
    cutoff = None if number == 0 else 0.35
    folder.events.append(rung_event(number, scores[0], cutoff, number + 1, stopped))
    folder.events.append(
        ended_event(number, "stopped" if stopped else "planned", epochs, max(scores))
    )
    run = folder.trial(number)
    run.write_recipe(search.trial_recipe(params, search.base_recipe()))
    run.write_provenance({"data": {"name": "digits"}})
    for epoch, score in enumerate(scores, 1):
        line = {"epoch": epoch, "train": {"accuracy": score + 0.1}, "val": {"accuracy": score}}
        run.metrics.append(line)
