"""A search: its trials with what was drawn for them, what became of them and why."""

import json
from pathlib import Path
from typing import Any

from cifarlab.page import beside, markup
from cifarlab.page.frame import Site, file_stamp, framed, put, said, section, watched
from cifarlab.page.places import run_address
from cifarlab.report.content import dig
from cifarlab.report.words import NOTHING, count, number, percent, plain

_COLUMNS = ("trial", "validation", "epochs", "ended", "what was drawn")


async def show(site: Site, place: str) -> None:
    """The search at ``place``; it is read anew when its record grows."""
    with framed(site, place or site.index.root.name), said():
        path = site.index.path(place)
        record = path / "search.jsonl"
        watched(
            lambda: (file_stamp(record), file_stamp(path / "search.json")),
            lambda: _search(site, path, record),
        )


def _search(site: Site, path: Path, record: Path) -> None:
    put(f"<h1>{markup.text(path.name)}</h1>")
    trials = _trials(_events(record))
    put(f'<p class="soft">{len(trials)} trials, best first, by validation accuracy.</p>')
    with section("Its trials"):
        ranked = sorted(trials.values(), key=lambda trial: -(number(trial.get("score")) or 0))
        put(markup.table(_COLUMNS, [_row(site, path, trial) for trial in ranked]))
    if files := beside.figures(path):
        with section("What it found"):
            put(beside.sheets(site.index, files))
    if (path / "best.yaml").exists():
        with section("The best trial's recipe"):
            text = (path / "best.yaml").read_text(encoding="utf-8")
            put(f"<pre class='recipe' tabindex='0'>{markup.text(text)}</pre>")


def _events(record: Path) -> list[dict[str, Any]]:
    """All whole lines; the last may be in the writing."""
    try:
        lines = record.read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        return []
    told = [json.loads(line) for line in lines]
    return [event for event in told if isinstance(event, dict) and "trial" in event]


def _trials(events: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """What the events say of each trial, later ones over earlier ones."""
    trials: dict[int, dict[str, Any]] = {}
    for event in events:
        trial = trials.setdefault(event["trial"], {"trial": event["trial"]})
        rung = dig(event, "event") == "rung"
        trial |= {key: value for key, value in event.items() if key != "event"}
        if rung:
            trial["epochs"] = event.get("epoch")
    return trials


def _row(site: Site, path: Path, trial: dict[str, Any]) -> tuple[Any, ...]:
    name = f"trial-{trial['trial']:03d}"
    folder = path / name
    named: Any = name
    if folder.is_dir():
        named = markup.link(run_address(site.index.place(folder)), name)
    score = number(trial.get("score"))
    drawn = plain(trial.get("values"))
    return named, percent(score), count(trial.get("epochs")), _ending(trial), drawn


def _ending(trial: dict[str, Any]) -> str:
    if failure := dig(trial, "failure", "what"):
        return f"failed: {failure}"
    why = trial.get("why")
    if why == "stopped" or trial.get("stopped"):
        needed = percent(trial.get("cutoff"))
        place = f"rank {plain(trial.get('rank'))} of {plain(trial.get('of'))}"
        return f"stopped at rung {plain(trial.get('rung'))}: {needed} needed, {place}"
    return {None: "not yet", "planned": "as planned"}.get(why, str(why or NOTHING))
