"""What was measured of a run beyond its accuracy, and what an audit found in its data."""

from cifarlab.dashboard import html as markup
from cifarlab.dashboard.frame import put, section
from cifarlab.report import audit, evaluation
from cifarlab.report.audit import Shown
from cifarlab.report.evaluation import Table
from cifarlab.report.formatting import percent
from cifarlab.report.run_data import SPOKEN, Run, dig
from cifarlab.report.shift import corruption_rows

_AUDIT = "Each training image was judged by a network that was trained without it"


def examination(run: Run) -> None:
    """Groups, calibration, test-time augmentation, shift and OOD, as far as they were measured."""
    split = SPOKEN.get(run.split_name or "", "")
    facts = evaluation.spread(run)
    groups, calibration = evaluation.groups(run), evaluation.calibration(run)
    if facts or groups or calibration:
        with section(f"Classes together, and probabilities: {split} split"):
            put(markup.facts(facts))
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


def audited(run: Run) -> None:
    """Labels that are probably wrong, and images that are there twice."""
    if facts := audit.label_facts(run):
        with section("Labels that are probably wrong"):
            folds = dig(run.audit, "labels", "folds")
            put(f'<p class="soft">{_AUDIT} ({markup.text(folds)} folds). Given → predicted.</p>')
            put(markup.warned(audit.notes(run, "labels")))
            put(markup.facts(facts))
            _table("By the number of suspects looked at", audit.depths(run))
            _album(audit.suspects(run))
    if facts := audit.twin_facts(run):
        with section("Images that are there twice"):
            put(markup.warned(audit.notes(run, "duplicates")))
            put(markup.facts(facts))
            _table("Between the splits", audit.twins(run))
            _album(audit.pairs(run))


def _table(title: str, table: Table | None) -> None:
    if table:
        put(f"<h3>{markup.text(title)}</h3>{markup.table(table.columns, table.rows)}")


def _heat(rows: list[dict]) -> str:
    """Accuracy by corruption and severity, as a table in shades."""
    most = max(len(row["accuracy"]) for row in rows)
    headers = ("corruption", *(f"severity {place}" for place in range(1, most + 1)), "mean")
    means = [sum(row["accuracy"]) / len(row["accuracy"]) for row in rows]
    values = [[*row["accuracy"], mean] for row, mean in zip(rows, means, strict=True)]
    names = [str(row.get("name")).replace("_", " ") for row in rows]
    return markup.shaded(headers, names, values, lambda share: percent(share, 1))


def _album(shown: list[Shown]) -> None:
    put(markup.gallery((one.images, one.title, one.details) for one in shown))
