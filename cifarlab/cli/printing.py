"""What was measured, compared, searched or audited, printed."""

from typing import TYPE_CHECKING, Any

from cifarlab.experiments.search import table as search_table
from cifarlab.experiments.study import table as study_table
from cifarlab.experiments.study.comparison import Comparison
from cifarlab.experiments.study.margin import margin_table
from cifarlab.report import by_image
from cifarlab.system.terminal import as_percent, console, print_table

if TYPE_CHECKING:
    from cifarlab.experiments.search.engine import FinishedSearch


def print_comparison(comparison: Comparison) -> None:
    """Print the table, with what stands over and under it."""
    console.print("\n".join(study_table.heading(comparison)))
    print_table(*study_table.format_rows(comparison))
    for note in study_table.footing(comparison):
        console.print(note)
    headers, cells = study_table.column_table(comparison)
    if headers:
        print_table(headers, cells)
        console.print(study_table.COLUMNS_NOTE)
    if comparison.margin_rows:
        print_table(*margin_table(comparison.margin_rows))
    intervals = by_image.interval_table(comparison.by_image)
    if intervals[1]:
        print_table(*intervals)
    for images in comparison.by_image:
        console.print(by_image.title(images))
        print_table(*by_image.class_table(images))
        console.print("\n".join(by_image.sentences(images)))


def print_search(search: "FinishedSearch") -> None:
    """Print the trials, rungs and keys of a search, and its finalists."""
    results = search.results
    console.print("\n".join(search_table.heading(results)))
    for headers, cells in (
        search_table.format_rows(results),
        search_table.format_rungs(results.rungs, results.metric),
        search_table.format_importance(results.importance),
    ):
        if cells:
            print_table(headers, cells)
    if search.finalists:
        print_comparison(search.finalists.comparison)
        for bias in search.finalists.selection_bias:
            console.print(search_table.describe_selection_bias(bias, results.metric))
    for line in (*search.problems, f"search: {search.folder.path}"):
        console.print(line)


def print_evaluation(split: str, evaluation: dict[str, Any]) -> None:
    """Print a split's accuracy, by class and group, its calibration, and all that was measured."""
    from cifarlab.training.display import format_score  # it imports torch

    result = evaluation["measured"]
    console.print(format_score(split, result, evaluation["data"]))
    rows = [
        (row["class"], str(row["n"]), as_percent(row["accuracy"]), _bounds(row["interval"], ".1f"))
        for row in result["per_class"]
        if row["n"]
    ]
    print_table(("class", "n", "accuracy", "95 % interval"), rows)
    for row in result["groups"] or []:
        if row["n"]:
            console.print(f"{row['group']}: {as_percent(row['accuracy'])} of {row['n']:,}")
    top = ", ".join(f"{k}: {as_percent(v)}" for k, v in enumerate(result["top_k"], 1))
    std = f"{100 * result['std']:.1f} points"
    console.print(f"top {top}; standard deviation between classes {std}")
    for name in ("calibration", "calibrated"):
        if row := result[name]:
            fitted = ", fitted on these images" if (split, name) == ("val", "calibrated") else ""
            console.print(
                f"calibration error {as_percent(row['ece'])}, Brier score {row['brier']:.4f} "
                f"at temperature {row['temperature']:.3f}{fitted}"
            )
    if sets := result.get("sets"):
        _print_sets(sets)
    if "tta" in evaluation:
        _print_full_evaluation(evaluation)


def _print_sets(sets: dict[str, Any]) -> None:
    """Print the coverage and size of sets of classes, and how often a class is named."""
    rows = [
        (
            row["class"],
            as_percent(row["coverage"]),
            _bounds(row["interval"], ".1f"),
            f"{row['mean_size']:.2f}",
        )
        for row in sets["per_class"]
        if row["n"]
    ]
    print_table(("class", "coverage of sets", "95 % interval", "mean size"), rows)
    console.print(
        f"sets for {100 * sets['target']:g} %, calibrated on {sets['n_calibration']:,} images: "
        f"coverage {as_percent(sets['coverage'])} (95 % interval "
        f"{_bounds(sets['interval'], '.2f')}, n = {sets['n']:,}), mean size {sets['mean_size']:.2f}"
    )
    single = sets["single_class"]
    bounds = _bounds(single["interval"], ".2f") if single["n"] else ""
    right = f", {as_percent(single['accuracy'])} of them right ({bounds})" if single["n"] else ""
    console.print(f"--reject names a class for {as_percent(single['fraction'])} of them{right}")
    if sets["note"]:
        console.print(sets["note"])


def _print_full_evaluation(evaluation: dict[str, Any]) -> None:
    """Print test-time augmentation, corruptions and out-of-distribution images."""
    rows = []
    for row in evaluation["tta"]:
        against = row["against_single_view"]
        gain = f"{100 * against['gain']:+.2f}" if against else ""
        interval = _bounds(against["interval"], "+.2f") if against else ""
        seconds = f"{row['cost']['seconds']:.1f} s"
        rows.append((row["name"], as_percent(row["accuracy"]), gain, interval, seconds))
    print_table(("views", "accuracy", "gain", "its 95 % interval", "time"), rows)
    shift = evaluation["shift"]
    print_table(
        ("corruption", *(f"severity {n}" for n in range(1, 6))),
        [(row["name"], *map(as_percent, row["accuracy"])) for row in shift["corruptions"]],
    )
    console.print(
        f"mean corruption accuracy {as_percent(shift['mean'])}, "
        f"clean {as_percent(shift['clean'])}, n = {shift['n']:,}"
    )
    if ood := evaluation["ood"]:
        scores = ", ".join(f"{row['name']} {row['auroc']:.4f}" for row in ood["scores"])
        console.print(f"{evaluation['data']} against {ood['data']}, AUROC: {scores}")


def print_audit(findings: dict[str, Any]) -> None:
    """Print near-duplicates between splits, and the labels that are most suspicious."""
    copies = findings["duplicates"]
    console.print(
        f"{findings['data']}: {copies['n_equal']:,} equal and {copies['n_near']:,} near-equal "
        f"pairs in {copies['groups']:,} groups, {copies['conflicts']:,} of them with several labels"
    )
    rows = [(row["split"], row["twin_split"], f"{row['images']:,}") for row in copies["twins"]]
    print_table(("images of", "with a twin in", "images"), rows)
    pairs = [(_image(pair["a"]), _image(pair["b"])) for pair in copies["pairs"][:10]]
    print_table(("pair", ""), pairs)
    labels = findings["labels"]
    for note in [*copies["notes"], *(labels["notes"] if labels else [])]:
        console.print(f"warning: {note}")
    if not labels:
        return
    console.print(
        f"{labels['n']:,} labels judged by {labels['folds']} folds: "
        f"{as_percent(labels['agreement'])} agree, {labels['n_label_issues']:,} are probably wrong"
    )
    if noise := labels["noise"]:
        console.print(
            f"{noise['true_positives']:,} of {noise['n_wrong']:,} known wrong labels come first: "
            f"precision {as_percent(noise['precision'])}, chance {as_percent(noise['chance'])}"
        )
    names = findings["classes"]
    suspects = [
        (row["name"], names[row["given_label"]], names[row["predicted_label"]], quality)
        for row in labels["suspects"][:10]
        for quality in [f"{row['label_quality']:.4f}"]
    ]
    print_table(("image", "given label", "predicted label", "label quality"), suspects)


def _bounds(bounds: tuple[float, float], form: str) -> str:
    low, high = bounds
    return f"{100 * low:{form}} to {100 * high:{form}}"


def _image(image: dict[str, Any]) -> str:
    return f"{image['split']}: {image['name']}"
