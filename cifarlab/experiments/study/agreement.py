"""Whether our runs agree with a report's numbers.

A report's number is one run. So it is held against the interval in which a single run of ours
would lie with 95 % (a prediction interval, wider than the mean's). With a shortened training levels
differ by construction: there, the *difference* from the baseline is held against our paired
differences, in the same way. On other data nothing is.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from cifarlab.recipes.catalog import Reported
from cifarlab.run_folder.run_data import SPLIT_NAMES
from cifarlab.stats.paired import PairedComparison, Summary, prediction_interval


class Agreement(NamedTuple):
    """Whether a reported number agrees with ours: None where that can't be decided.

    ``words`` say the result or why there is none. ``basis`` is what can be compared: the level, the
    difference from the baseline's number (``expected``, 0..1), or nothing (empty).
    """

    agrees: bool | None = None
    words: str = ""
    basis: Literal["", "level", "difference"] = ""
    expected: float | None = None


class RankCorrelation(NamedTuple):
    """Kendall's tau between our order of ``n`` rows and the report's (1: the same), and its p."""

    tau: float
    p: float
    n: int


def measure_agreement(
    baseline: str,
    summaries: Mapping[str, Summary],
    pairs: Mapping[str, PairedComparison | None],
    reported: Mapping[str, Reported],
    data: str,
    split: str,
    scale: float,
) -> Mapping[str, Agreement]:
    """Return the agreement of each row that has runs and a reported number.

    Args:
        baseline: the baseline row's name
        summaries: our accuracies by row, 0..1
        pairs: our differences from the baseline by row, 0..1
        reported: the reports' numbers by row
        data: name of our data
        split: our split, ``test`` or ``val``
        scale: scale of our study
    """
    agreements: dict[str, Agreement] = {}
    for row, report in reported.items():
        if row not in summaries:
            continue
        basis = find_basis(report, data, scale)
        if basis == "level":
            row_agreement = _judge(report.accuracy / 100, summaries[row], "{:.2f}")
        elif row == baseline or baseline not in reported:
            words = "reference of the differences" if row == baseline else "no baseline number"
            row_agreement = Agreement(words=words)
        else:
            row_agreement = judge_difference(report, reported[baseline], pairs.get(row))
        words = row_agreement.words
        if report.split != split:
            words += f" (theirs: {SPLIT_NAMES[report.split]}, ours: {SPLIT_NAMES[split]})"
        agreements[row] = row_agreement._replace(words=words, basis=basis)
    return agreements


def find_basis(report: Reported, data: str, scale: float) -> Literal["", "level", "difference"]:
    """Return what of a reported number can be compared with our runs.

    Args:
        report: the reported number
        data: name of our data
        scale: scale of our study

    Returns:
        ``level``, ``difference`` (from the baseline only), or an empty string for nothing.
    """
    if report.data != data:
        return ""
    return "level" if scale == 1 else "difference"


def judge_difference(report: Reported, base: Reported, ours: PairedComparison | None) -> Agreement:
    """Return whether a reported difference lies where a single pair of our runs would.

    Args:
        report: the row's number
        base: its baseline's number
        ours: our differences from the baseline
    """
    expected = (report.accuracy - base.accuracy) / 100
    if ours is None:
        return Agreement(words="no pair with the baseline", expected=expected)
    return _judge(expected, ours.difference, "{:+.2f}")._replace(expected=expected)


def _judge(report: float, ours: Summary, form: str) -> Agreement:
    """Return whether a reported value lies where a single run of ours would."""
    interval = prediction_interval(ours)
    if interval is None:
        return Agreement(words="one run: no interval to judge by")
    if not ours.std:
        return Agreement(words="our runs do not vary: no interval to judge by")
    low, high = interval
    if high - low >= 1:  # as wide as accuracy's scale, it rules nothing out
        return Agreement(words="our runs are too few, for how much they vary, to judge by")
    agrees = low <= report <= high
    low_text, high_text, reported_text = (form.format(100 * value) for value in (low, high, report))
    word, relation = ("agrees", "in") if agrees else ("differs", "outside")
    return Agreement(agrees, f"{word}: {reported_text} is {relation} {low_text} to {high_text}")


def correlate_ranks(
    ours: Mapping[str, float], theirs: Mapping[str, float]
) -> RankCorrelation | None:
    """Return Kendall's tau-b over the rows of ``ours``; None for fewer than two, or all equal."""
    from scipy.stats import kendalltau

    if len(ours) < 2:
        return None
    correlation = kendalltau(list(ours.values()), [theirs[row] for row in ours])
    if not -1 <= correlation.statistic <= 1:  # NaN
        return None
    return RankCorrelation(float(correlation.statistic), float(correlation.pvalue), len(ours))
