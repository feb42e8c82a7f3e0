"""What was measured of a run beyond its accuracy, and what an audit found in its data."""

from cifarlab.dashboard import html
from cifarlab.dashboard.frame import put, section
from cifarlab.report import audit, evaluation
from cifarlab.report.audit import AuditImage
from cifarlab.report.evaluation import Table
from cifarlab.report.shift import corruption_rows
from cifarlab.run_folder.run_data import SPOKEN, RunData, dig
from cifarlab.system.formatting import percent

_AUDIT = "Each training image was judged by a network that was trained without it"


def examination(run: RunData) -> None:
    """Show groups, calibration, test-time augmentation, shift and OOD, as far as they were measured."""
    split = SPOKEN.get(run.split_name or "", "")
    facts = evaluation.spread(run)
    groups, calibration = evaluation.groups(run), evaluation.calibration(run)
    if facts or groups or calibration:
        with section(f"Classes together, and probabilities: {split} split"):
            put(html.facts(facts))
            _table("Groups of classes", groups)
            _table("Are its probabilities to be believed?", calibration)
    tta, rows = evaluation.tta(run), corruption_rows(run)
    ood = evaluation.ood(run)
    if tta or rows or ood:
        with section(f"Examined: {evaluation.examined_on(run)}"):
            _table("What more views of an image bring", tta)
            if rows:
                put(f"<h3>Under fifteen common corruptions</h3>{_heat(rows)}")
                _table("The same by family", evaluation.families(run))
            ood_data = dig(run.examined, "ood", "data")
            _table(f"Told from images of {ood_data}", ood)


def audited(run: RunData) -> None:
    """Show labels that are probably wrong, and images that are there twice."""
    if facts := audit.label_facts(run):
        with section("Labels that are probably wrong"):
            folds = dig(run.audit, "labels", "folds")
            put(f'<p class="soft">{_AUDIT} ({html.text(folds)} folds). Given → predicted.</p>')
            put(html.warned(audit.notes(run, "labels")))
            put(html.facts(facts))
            _table("By the number of suspects looked at", audit.depths(run))
            _album(audit.suspects(run))
    if facts := audit.twin_facts(run):
        with section("Images that are there twice"):
            put(html.warned(audit.notes(run, "duplicates")))
            put(html.facts(facts))
            _table("Between the splits", audit.twins(run))
            _album(audit.pairs(run))


def _table(title: str, table: Table | None) -> None:
    if table:
        put(f"<h3>{html.text(title)}</h3>{html.table(table.columns, table.rows)}")


def _heat(rows: list[dict]) -> str:
    """Return accuracy by corruption and severity, as a table in shades."""
    most = max(len(row["accuracy"]) for row in rows)
    headers = ("corruption", *(f"severity {severity}" for severity in range(1, most + 1)), "mean")
    means = [sum(row["accuracy"]) / len(row["accuracy"]) for row in rows]
    values = [[*row["accuracy"], mean] for row, mean in zip(rows, means, strict=True)]
    names = [str(row.get("name")).replace("_", " ") for row in rows]
    return html.shaded(headers, names, values, lambda fraction: percent(fraction, 1))


def _album(shown: list[AuditImage]) -> None:
    put(html.gallery((picture.images, picture.title, picture.details) for picture in shown))
