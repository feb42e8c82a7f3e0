"""Choose, sort and ask runs by keys: of the list, of their recipes, of their results."""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from cifarlab.run_folder.expression import Expression, sort_order
from cifarlab.run_folder.index import Entry, Listing, RunIndex
from cifarlab.run_folder.values import find_part
from cifarlab.system.errors import RunFolderError, UserError
from cifarlab.system.files import is_folder

Row = TypeVar("Row")
COLUMNS: dict[str, Callable[[Entry, float], Any]] = {
    "run": lambda run, _: run.url_path,
    "name": lambda run, _: run.recipe,
    "state": lambda run, now: run.state(now),
    "age": lambda run, now: (now - run.last_modified) / 86_400,  # days since it last wrote
    **{
        name: lambda run, _, name=name: getattr(run, name)  # type: ignore[misc]
        for name in (
            *("recipe", "seed", "data", "epochs", "test", "val", "seconds", "parameters"),
            *("last_modified", "group"),
        )
    },
    "openings": lambda run, _: run.n_openings,
}
# what a finished run has, even where none of these runs is finished; no recipe has such a part
_RESULTS = ("val", "test", "cost", "best", "temperature", "evaluated")


class Selection(NamedTuple):
    """Some runs of a folder, in their order; ``value`` answers a key of one of them."""

    runs_index: RunIndex
    listing: Listing
    runs: list[Entry]
    value: Callable[[Entry, str], Any]


def select_runs(
    folder: Path,
    where: str = "",
    sort: str = "-last_modified",
    columns: Sequence[str] = (),
    *,
    writes: bool = True,
) -> Selection:
    """Return the runs in a folder for which a condition holds.

    Args:
        folder: the folder of the runs
        where: the condition (expression.py); empty for all
        sort: a key, with a minus before it for the largest first; runs without it come last
        columns: further keys that will be asked
        writes: whether what was read may be kept in the folder, for the next time

    Raises:
        UserError: the condition can't be read, or no run has one of the keys
        RunFolderError: there is no such folder
    """
    if not is_folder(folder):
        hint = "train a recipe first, or name the folder of the runs with --folder"
        raise RunFolderError(f"there is no folder {folder}", hint)
    expression = Expression(where) if where.strip() else None
    key = sort.removeprefix("-")
    index = RunIndex(folder, writes=writes)
    listing = index.listing()
    runs = [run for run in listing.runs if not run.problem]
    keys = {*(expression.keys if expression else ()), key, *columns}
    value = _value_function(index, runs, keys)
    _require_known(keys, runs, value)
    if expression:
        runs = [run for run in runs if _holds(expression, run, value)]
    return Selection(index, listing, sort_by(sort, runs, lambda run: value(run, key)), value)


def sort_by(sort: str, rows: Iterable[Row], value: Callable[[Row], Any]) -> list[Row]:
    """Return rows sorted by a value; those without one come last.

    Args:
        sort: what it is called, with a minus before it for the largest first
        rows: anything
        value: returns a row's value, None where it has none
    """
    pairs = [(value(row), row) for row in rows]
    valued = [pair for pair in pairs if pair[0] is not None]
    valued.sort(key=lambda pair: sort_order(pair[0]), reverse=sort.startswith("-"))
    return [row for _, row in valued] + [row for no_value, row in pairs if no_value is None]


def _value_function(
    index: RunIndex, runs: Sequence[Entry], keys: Iterable[str]
) -> Callable[[Entry, str], Any]:
    """Return a function of a run and a key; recipes are read where a key may be one of theirs."""
    parts = {key.partition(".")[0] for key in keys if key not in COLUMNS}
    recipes = index.recipes(runs) if parts - {*_RESULTS} else {}
    now = time.time()

    def value(run: Entry, key: str) -> Any:
        if column := COLUMNS.get(key):
            return column(run, now)
        settings = recipes.get(run.digest, {})
        if key in settings:
            return settings[key]
        return run.values[key] if key in run.values else find_part(settings, key)

    return value


def _holds(expression: Expression, run: Entry, value: Callable[[Entry, str], Any]) -> bool:
    try:
        return expression.holds(lambda key: value(run, key))
    except UserError as error:
        raise UserError(
            f"{expression.text}: in {run.url_path}, {error.what}", error.hint
        ) from error


def _require_known(
    keys: Iterable[str], runs: Sequence[Entry], value: Callable[[Entry, str], Any]
) -> None:
    """Raise UserError for a key that no run has, nor could have."""
    unknown = [key for key in sorted(keys) if all(value(run, key) is None for run in runs)]
    unknown = [key for key in unknown if key not in COLUMNS]
    if not unknown or not runs:
        return
    import difflib

    from cifarlab.recipes.hints import LIST_KEYS, synonyms
    from cifarlab.recipes.keys import keys as recipe_keys

    names = {key for run in runs for key in run.values}
    parts = {name.partition(".")[0] for name in names}
    settings = {key.path for key in recipe_keys()}
    settings |= {path.rpartition(".")[0] for path in settings}
    choices = [*names, *settings, *COLUMNS]
    for key in unknown:
        last = key.rpartition(".")[2]
        if key in settings or key.partition(".")[0] in {*_RESULTS} - parts:
            continue
        matches = [path for path in choices if path.rpartition(".")[2] == key]
        if "." in key:
            matches += difflib.get_close_matches(key, choices, n=1)
        match = synonyms().get(last) or next(iter(matches), None)
        hint = f"a text stands in quotes, as in \"model.kind == 'resnet'\"; {LIST_KEYS}"
        raise UserError(f"no run has the key {key}", f"did you mean {match}?" if match else hint)
