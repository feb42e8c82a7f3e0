"""Where a run comes from, as tables."""

from typing import Any, NamedTuple

from cifarlab.report.tables import Table
from cifarlab.run_folder.run_data import RunData
from cifarlab.system.formatting import plain

_TITLES = {"starts": "Starts", "test_openings": "Openings of the test split"}


class Log(NamedTuple):
    """A list of like records; ``empty`` says why there are none."""

    title: str
    table: Table
    empty: str


def origin(run: RunData) -> Table:
    """Return all of provenance.json that is no log, as (what, value), in the file's order."""
    rows: list[tuple[str, str]] = []
    for key, value in run.provenance.items():
        if _is_log(value) or key in _TITLES:
            continue
        if isinstance(value, dict) and key != "libraries":
            rows += [(f"{_spoken(key)}: {_spoken(inner)}", plain(v)) for inner, v in value.items()]
        else:
            rows.append((_spoken(key), plain(value)))
    fingerprint = run.result.get("fingerprint")
    if fingerprint:
        rows.append(("recipe fingerprint", plain(fingerprint)))
    return Table(("", ""), rows)


def logs(run: RunData) -> list[Log]:
    """Return starts, openings of the test split, and any other list of records.

    What all records share with the provenance itself, as a start its versions, is left out.
    """
    logs_by_key = {key: value for key, value in run.provenance.items() if _is_log(value)}
    keys = list(dict.fromkeys([*_TITLES, *logs_by_key]))
    return [_log(run, key, logs_by_key.get(key, [])) for key in keys]


def _log(run: RunData, key: str, records: list[dict[str, Any]]) -> Log:
    names = dict.fromkeys(name for record in records for name in record)
    provenance = run.provenance
    columns = [
        name
        for name in names
        if name not in provenance or any(record.get(name) != provenance[name] for record in records)
    ]
    rows = [[plain(record.get(name)) for name in columns] for record in records]
    recorded = key in run.provenance
    empty = "none: the test split was not opened" if key == "test_openings" else "none"
    return Log(
        _TITLES.get(key, _spoken(key)),
        Table([_spoken(name) for name in columns], rows),
        empty if recorded else "not recorded",
    )


def _is_log(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _spoken(key: Any) -> str:
    return str(key).replace("_", " ")
