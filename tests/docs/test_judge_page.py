"""The figures of docs/judge.md and docs/verdicts.md are those of benchmarks/results."""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
WORDS = {"as fast": "0% faster", "as good": "+0.0 points"}


def last_result(name: str) -> Any:
    """Return the last result of a benchmark on a CPU."""
    file = max((ROOT / "benchmarks" / "results").glob(f"{name}_cpu_*.json"))
    return json.loads(file.read_text(encoding="utf-8"))


def simulated(section: str) -> Any:
    """Return a section of the last result of benchmarks/validity.py."""
    return last_result("validity")[section]


def rows(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the table whose header begins so."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    table = re.search(rf"^\| {heading} .*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()]


def test_what_a_race_finds() -> None:
    figures, seen = simulated("races of the judge"), []
    for words, goal, margin, *cells in rows("judge.md", "candidate"):
        gain = re.sub(r"^([\d.]+) points better$", r"+\1 points", words)
        name = WORDS.get(gain, gain.replace(" %", "%"))
        keys = [
            f"{goal}, margin {margin}, {name}: {what}"
            for what in ("accepted", "rejected", "undecided", "pairs")
        ]
        values = [figures[key]["value"] for key in keys]
        assert cells == [*(f"{100 * value:.0f} %" for value in values[:3]), f"{values[3]:.1f}"]
        seen += keys
    assert sorted(seen) == sorted(figures)


def test_real_races() -> None:
    races = last_result("judging-speed-94")["races"]
    expected = []
    for name, race in races.items():
        assert race["exit_code"] == race["expected"]
        speedup, points = race["speedup_interval"], race["difference_interval"]
        fast = f"{race['speedup']:.2f} ({speedup[0]:.2f} to {speedup[1]:.2f})" if speedup else "-"
        ends = f" ({100 * points[0]:+.1f} to {100 * points[1]:+.1f})" if points else ""
        difference = f"{100 * race['difference']:+.1f}{ends}"
        expected.append([name, race["verdict"], str(race["pairs"]), fast, difference])
    assert rows("judge.md", "race") == expected


def test_useless_candidates_whose_differences_are_not_normal() -> None:
    figures, seen = simulated("useless candidates accepted by a record book"), []
    for kind, *cells in rows("verdicts.md", "differences of the pairs"):
        keys = [key for key in figures if key.startswith(f"{kind}: ")]
        assert cells == [f"{100 * figures[key]['value']:.1f} %" for key in keys]
        seen += keys
    assert sorted(seen) == sorted(figures)
