"""What was measured, examined or audited, printed."""

from typing import Any

from rich.table import Table
from rich.text import Text

from cifarlab.system.terminal import console, percent, print_table
from cifarlab.training.display import score_line


def per_class_table(measured: dict[str, Any]) -> Table:
    """Return the accuracy of each class with its interval."""
    table = Table("class", "n", "accuracy", "95 % interval", box=None)
    for row in measured["per_class"]:
        if row["n"]:
            low, high = row["interval"]
            interval = f"{100 * low:.1f} to {100 * high:.1f}"
            table.add_row(Text(row["class"]), str(row["n"]), percent(row["accuracy"]), interval)
    return table


def print_measured(split: str, measured: dict[str, Any], data: str) -> None:
    """Print a split's accuracy, by class and group, and the calibration of its probabilities."""
    console.print(score_line(split, measured, data))
    console.print(per_class_table(measured))
    for row in measured["groups"] or []:
        if row["n"]:
            console.print(f"{row['group']}: {percent(row['accuracy'])} of {row['n']:,}")
    top = ", ".join(f"{k}: {percent(v)}" for k, v in enumerate(measured["top_k"], 1))
    console.print(
        f"top {top}; standard deviation between classes {100 * measured['std']:.1f} points"
    )
    for name in ("calibration", "calibrated"):
        if row := measured[name]:
            fitted = ", fitted on these images" if (split, name) == ("val", "calibrated") else ""
            console.print(
                f"calibration error {percent(row['ece'])}, Brier score {row['brier']:.4f} "
                f"at temperature {row['temperature']:.3f}{fitted}"
            )


def print_evaluation(evaluation: dict[str, Any]) -> None:
    """Print test-time augmentation, corruptions and out-of-distribution images."""
    rows = []
    for row in evaluation["tta"]:
        against = row["against_single_view"]
        low, high = against["interval"] if against else (0, 0)
        gain = f"{100 * against['gain']:+.2f}" if against else ""
        between = f"{100 * low:+.2f} to {100 * high:+.2f}" if against else ""
        seconds = f"{row['cost']['seconds']:.1f} s"
        rows.append((row["name"], percent(row["accuracy"]), gain, between, seconds))
    print_table(("views", "accuracy", "gain", "its 95 % interval", "time"), rows)
    shift = evaluation["shift"]
    print_table(
        ("corruption", *(f"severity {n}" for n in range(1, 6))),
        [(row["name"], *map(percent, row["accuracy"])) for row in shift["corruptions"]],
    )
    console.print(
        f"mean corruption accuracy {percent(shift['mean'])}, clean {percent(shift['clean'])}, "
        f"n = {shift['n']:,}"
    )
    if ood := evaluation["ood"]:
        scores = ", ".join(f"{row['name']} {row['auroc']:.4f}" for row in ood["scores"])
        console.print(f"{evaluation['data']} against {ood['data']}, AUROC: {scores}")


def print_audit(findings: dict[str, Any]) -> None:
    """Print near-duplicates between splits, and the labels that are most suspicious."""
    copies = findings["duplicates"]
    console.print(
        f"{findings['data']}: {copies['equal']:,} equal and {copies['near']:,} near-equal pairs in "
        f"{copies['groups']:,} groups, {copies['conflicts']:,} of them with several labels"
    )
    rows = [(row["of"], row["in"], f"{row['images']:,}") for row in copies["twins"]]
    print_table(("images of", "with a twin in", "images"), rows)
    pairs = [(_image(pair["a"]), _image(pair["b"])) for pair in copies["pairs"][:10]]
    print_table(("pair", ""), pairs)
    labels = findings["labels"]
    for note in [*copies["notes"], *(labels["notes"] if labels else [])]:
        console.print(f"warning: {note}")
    if not labels:
        return
    console.print(
        f"{labels['n']:,} labels judged by {labels['folds']} folds: {percent(labels['agreement'])} "
        f"agree, {labels['estimated']:,} estimated to be wrong"
    )
    if noise := labels["noise"]:
        console.print(
            f"of {noise['wrong']:,} labels known to be wrong, {noise['found']:,} are among as many "
            f"suspects: precision {percent(noise['precision'])}, chance {percent(noise['chance'])}"
        )
    names = findings["classes"]
    suspects = [
        (
            suspect["name"],
            names[suspect["given_label"]],
            names[suspect["predicted_label"]],
            f"{suspect['label_quality']:.4f}",
        )
        for suspect in labels["suspects"][:10]
    ]
    print_table(("image", "given label", "predicted label", "label quality"), suspects)


def _image(image: dict[str, Any]) -> str:
    return f"{image['split']}: {image['name']}"
