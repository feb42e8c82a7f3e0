"""An audit's findings in full, as CSV: every judged label and every pair of near-duplicates."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cifarlab.system.files import write_text


def write_tables(folder: Path, findings: dict[str, Any], classes: Sequence[str]) -> None:
    """Write ``pairs.csv`` and, where labels were judged, ``labels.csv``. Raises StorageError.

    The labels with the most suspicious first, the pairs in the order of ``duplicate_findings``.
    """
    ends = [(pair["a"], pair["b"], pair["similarity"]) for pair in findings["duplicates"]["pairs"]]
    pairs = [
        (*_describe_image(a, classes), *_describe_image(b, classes), f"{value:.6f}")
        for a, b, value in ends
    ]
    columns = [f"{field}_{end}" for end in "ab" for field in ("split", "index", "image", "label")]
    write_text(folder / "pairs.csv", _csv_text([*columns, "similarity"], pairs))
    if labels := findings["labels"]:
        rows = [
            (suspect["index"], suspect["name"], *(classes[suspect[key]] for key in _LABEL_KEYS),
             f"{suspect['label_quality']:.6f}", f"{suspect['probability']:.6f}")
            for suspect in labels["suspects"]
        ]  # fmt: skip
        header = ["index", "image", *_LABEL_KEYS, "label_quality", "probability"]
        write_text(folder / "labels.csv", _csv_text(header, rows))


_LABEL_KEYS = ("given_label", "predicted_label", "true_label")


def _describe_image(image: dict[str, Any], classes: Sequence[str]) -> tuple[str, int, str, str]:
    return image["split"], image["index"], image["name"], classes[image["given_label"]]


def _csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return file.getvalue()
