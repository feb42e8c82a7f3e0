"""A report in a real browser."""

import json
import shutil

from cifarlab.report.write import write_report

WIDE = {"width": 1280, "height": 900}


def test_a_report_breaks_no_command_one_word_a_line(browser, finished, tmp_path) -> None:
    file = shutil.copytree(finished.path, tmp_path / "run") / "provenance.json"
    provenance = json.loads(file.read_text())
    start = {**provenance["starts"][0], "command": "cifarlab train tiny " + "seed=3 " * 20}
    starts = [{**start, f"k{n}": "more words of a start " * 9} for n in range(9)]
    file.write_text(json.dumps({**provenance, "starts": starts}))
    page = browser.new_page(viewport=WIDE)
    page.goto(write_report([file.parent]).as_uri())
    command = page.get_by_role("cell", name="cifarlab train tiny").first
    ems = "cell => cell.clientWidth / parseFloat(getComputedStyle(cell).fontSize)"
    assert command.evaluate(ems) > 14
