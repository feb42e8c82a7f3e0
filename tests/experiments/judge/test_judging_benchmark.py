"""benchmarks/judging.py writes what came of its races, and fails where that is not expected."""

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
TINY = ("data.source=digits", "augment.progressive_resize=[]", "model.channels=[8,8,8]")


def test_races_are_written_and_held_against_what_is_expected(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import judging

    known = judging.RACES["nothing changed: another metric is reported"]
    written: dict[str, Any] = {}
    monkeypatch.setattr(judging, "RACES", {"held": known, "missed": known._replace(expected=0)})
    monkeypatch.setattr(
        judging, "write_result", lambda what, device, payload: written.update(payload)
    )
    monkeypatch.setattr(sys, "argv", ["judging.py", *TINY, "--steps", "2", "--most", "3"])
    with pytest.raises(SystemExit, match=r"^not as expected: missed$"):
        judging.main()
    race = written["races"]["held"]
    assert (race["expected"], race["exit_code"], race["verdict"]) == (3, 3, "rejected")
    assert race["difference"] == 0 and race["p"]
    assert race["accuracy"]["candidate"] == race["accuracy"]["incumbent"]
    assert len(race["seconds"]["candidate"]) == race["pairs"] > 0
