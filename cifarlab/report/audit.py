"""What an audit found in a run's data: label suspects and near-duplicates, as facts and tables."""

from typing import Any

from cifarlab.report.tables import Fact, Table, table_of
from cifarlab.run_folder.run_data import RunData, dig
from cifarlab.system.formatting import count, number, percent, plain


def _section(run: RunData, name: str) -> dict[str, Any]:
    section = dig(run.audit, name)
    return section if isinstance(section, dict) else {}


def label_facts(run: RunData) -> list[Fact]:
    """Return how many labels are suspected, and the ranking's precision where it is known."""
    section = _section(run, "labels")
    if not section:
        return []
    facts = [
        Fact("Labels judged", count(section.get("n"))),
        Fact("Agree with a network that never saw them", percent(section.get("agreement"))),
        Fact("Estimated to be wrong", count(section.get("estimated"))),
    ]
    if isinstance(noise := section.get("noise"), dict):
        facts += [
            Fact("Known to be wrong", count(noise.get("wrong"))),
            Fact("Precision at that number", percent(noise.get("precision"))),
            Fact("Chance", percent(noise.get("chance"))),
        ]
    return facts


def depths(run: RunData) -> Table:
    """Return precision and recall by the number of suspects looked at, where the truth is known."""
    return table_of(
        dig(run.audit, "labels", "noise", "curve"),
        ("suspects", count, "suspects"),
        ("precision", percent, "precision"),
        ("recall", percent, "recall"),
    )


def twin_facts(run: RunData) -> list[Fact]:
    """Return how many images are there twice."""
    section = _section(run, "duplicates")
    images = section.get("images")
    searched = sum(int(number(n) or 0) for n in images.values()) if isinstance(images, dict) else 0
    return [
        Fact("Images searched", count(searched)),
        Fact("Groups of equal or near-equal images", count(section.get("groups"))),
        Fact("Equal pairs", count(section.get("equal"))),
        Fact("Near-equal pairs", count(section.get("near"))),
        Fact("Groups with several labels", count(section.get("conflicts"))),
    ] if section else []  # fmt: skip


def twins(run: RunData) -> Table:
    """Return how many images of each split have a twin in each."""
    return table_of(
        dig(run.audit, "duplicates", "twins"),
        ("images of", plain, "of"),
        ("with a twin in", plain, "in"),
        ("images", count, "images"),
    )


def notes(run: RunData, part: str) -> list[str]:
    """Return what must be read beside the findings in ``labels`` or ``duplicates``."""
    lines = dig(run.audit, part, "notes")
    return [str(note) for note in lines] if isinstance(lines, list) else []
