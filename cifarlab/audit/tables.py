"""An audit's findings in full, as CSV: every judged label and every pair of near-duplicates."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cifarlab.system.files import write_text


def write_tables(folder: Path, found: dict[str, Any], classes: Sequence[str]) -> None:
    """Write ``pairs.csv`` and, where labels were judged, ``labels.csv``. Raises StorageError.

    The labels with the most suspicious first, the pairs in the order of ``duplicate_findings``.
    """
    ends = [(pair["a"], pair["b"], pair["similarity"]) for pair in found["duplicates"]["pairs"]]
    pairs = [(*_end(a, classes), *_end(b, classes), f"{value:.6f}") for a, b, value in ends]
    columns = [f"{what}_{end}" for end in "ab" for what in ("split", "index", "image", "label")]
    write_text(folder / "pairs.csv", _text([*columns, "similarity"], pairs))
    if labels := found["labels"]:
        rows = [
            (one["index"], one["name"], *(classes[one[key]] for key in _LABELS),
             f"{one['label_quality']:.6f}", f"{one['probability']:.6f}")
            for one in labels["suspects"]
        ]  # fmt: skip
        header = ["index", "image", *_LABELS, "label_quality", "probability"]
        write_text(folder / "labels.csv", _text(header, rows))


_LABELS = ("given_label", "predicted_label", "true_label")


def _end(image: dict[str, Any], classes: Sequence[str]) -> tuple[str, int, str, str]:
    return image["split"], image["index"], image["name"], classes[image["given_label"]]


def _text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return file.getvalue()
