"""An audit's findings in full, as CSV: every judged label and every pair of near-duplicates."""

from pathlib import Path
from typing import Any

from cifarlab.system.files import write_text
from cifarlab.system.formatting import rows_to_csv

_IMAGE = {"split": "split", "index": "index", "name": "image", "given_label": "label"}


def write_tables(folder: Path, findings: dict[str, Any]) -> None:
    """Write ``pairs.csv`` and, where labels were judged, ``labels.csv``.

    Labels are in the order of suspicion, pairs in that of ``duplicate_findings``.

    Raises:
        StorageError: the disk refused
    """

    def cell(key: str, value: Any) -> Any:
        if key.endswith("_label"):
            return findings["classes"][value]
        return f"{value:.6f}" if isinstance(value, float) else value

    header = [f"{name}_{end}" for end in "ab" for name in _IMAGE.values()]
    pairs: list[list[Any]] = [[*header, "similarity"]]
    for pair in findings["duplicates"]["pairs"]:
        images = [cell(key, pair[end][key]) for end in "ab" for key in _IMAGE]
        pairs.append([*images, cell("similarity", pair["similarity"])])
    write_text(folder / "pairs.csv", rows_to_csv(pairs))
    if labels := findings["labels"]:
        suspects = labels["suspects"]
        rows = [[cell(key, value) for key, value in row.items()] for row in suspects]
        names = ["image" if key == "name" else key for key in suspects[0]]
        write_text(folder / "labels.csv", rows_to_csv([names, *rows]))
