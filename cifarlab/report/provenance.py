"""Where a run comes from, as tables."""

from collections.abc import Iterator
from typing import Any

from cifarlab.report.tables import Table
from cifarlab.run_folder.run_data import RunData
from cifarlab.system.formatting import plain

_TITLES = {"starts": "Starts", "test_openings": "Openings of the test split"}


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
    if fingerprint := run.result.get("fingerprint"):
        rows.append(("recipe fingerprint", plain(fingerprint)))
    return Table(("", ""), rows)


def logs(run: RunData) -> Iterator[tuple[str, Table, str]]:
    """Yield starts, openings of the test split, and other lists of records: title, table, why none.

    What all records share with the provenance itself, as a start its versions, is left out.
    """
    known = run.provenance
    records_by_key = {key: value for key, value in known.items() if _is_log(value)}
    for key in dict.fromkeys([*_TITLES, *records_by_key]):
        records = records_by_key.get(key, [])
        columns = [
            name
            for name in dict.fromkeys(name for record in records for name in record)
            if name not in known or any(record.get(name) != known[name] for record in records)
        ]
        rows = [[plain(record.get(name)) for name in columns] for record in records]
        none = "none: the test split was not opened" if key == "test_openings" else "none"
        table = Table([_spoken(name) for name in columns], rows)
        yield _TITLES.get(key, _spoken(key)), table, none if key in known else "not recorded"


def _is_log(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _spoken(key: Any) -> str:
    return str(key).replace("_", " ")
