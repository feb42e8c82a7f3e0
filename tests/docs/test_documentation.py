"""Every command and every snippet that README and docs show is executed, in their order.

Commands stand in ``sh`` blocks, snippets in ``python`` blocks. Training is cut to a few steps and
sees small images made here, studies and searches are cut to a few runs; otherwise a line runs as it
is written. A block that begins with a file's name in a comment is saved as that file.
"""

import re
import shlex
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pictures import PICTURES
from PIL import Image
from typer.testing import CliRunner

from cifarlab.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ROOMS = [ROOT / name for name in ("cifarlab", "tests", "benchmarks", "examples")]
FILES = [file.as_posix() for room in ROOMS for file in room.rglob("*")]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHORT = "training.duration=4 steps"
SHORTER = {
    "6 epochs": "4 steps",
    "9 epochs": "3 epochs",
    "most: 10": "most: 4",
    "trials: 12": "trials: 3",
}


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the archive of class folders and the photo that the pages name."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for name in ("cat", "dog"):
            for number in range(30):
                file = BytesIO()
                Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(file, "PNG")
                archive.writestr(f"photos/{name}/{number}.png", file.getvalue())
    Path("photo.png").write_bytes(file.getvalue())
    return tmp_path


def run_line(line: str) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "torchrun":
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", *words[1:], SHORT]
        subprocess.run(command, check=True)
        return
    assert words[0] == "cifarlab", f"a command that no test runs: {line}"
    if words[1] == "train" and "--extend" not in words:
        words.append(SHORT)
    if words[1:] == ["study", "quickstart"]:
        words += ["--scale", "0.1"]
    outcome = CliRunner().invoke(app, words[1:])
    assert outcome.exit_code == 0, f"{line}\n{outcome.output}\n{outcome.exception!r}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_what_a_page_shows_works(page: Path, working_folder: Path) -> None:
    names: dict[str, object] = {}
    for language, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if name := re.match(r"# (\w+\.(?:py|yaml))\n", block):
            for text, short in SHORTER.items():
                block = block.replace(text, short)
            Path(name[1]).write_text(block, encoding="utf-8")
            continue
        assert language in ("sh", "python"), f"{page.name} has a block that no test runs"
        if language == "python":
            exec(compile(block, str(page), "exec"), names)
            continue
        for line in filter(str.strip, block.splitlines()):
            run_line(line)
    for shown in PICTURES.get(page.relative_to(ROOT).as_posix().removeprefix("docs/"), {}).values():
        assert Path(shown).exists(), f"{page.name} has a picture of what its commands do not make"


def is_known(name: str) -> bool:
    """Return whether there is a file of this name; the folders above it may be left out."""
    name = name.replace("KIND", "resnet").replace("REPORT", "speed")  # as CONTRIBUTING calls any
    return (ROOT / name).exists() or any(file.endswith(f"/{name}") for file in FILES)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda p: p.name)
def test_links_and_names_of_files_lead_somewhere(page: Path) -> None:
    texts = [each.read_text(encoding="utf-8") for each in (page, *PAGES)]
    saved = set(re.findall(r"^# (\w+\.py)$", "\n".join(texts), re.MULTILINE))
    links = re.findall(r"\]\((?!https?:)([^)#]+)", texts[0])
    names = re.findall(r"`((?:cifarlab|benchmarks|tests|docs)/[\w/.-]+|[\w/-]+\.py)`", texts[0])
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing + [name for name in names if name not in saved and not is_known(name)]


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = set(re.findall(r"make (run|test)\b", readme))
    assert commands == {"run", "test"}
    assert all(re.search(rf"^{command}:", makefile, re.MULTILINE) for command in commands)


def test_no_page_has_a_gap_to_be_filled() -> None:
    assert not [page.name for page in PAGES if re.search(r"@[A-Z]+@", page.read_text("utf-8"))]


def test_the_changelog_names_every_shipped_recipe() -> None:
    from cifarlab.recipes.catalog import shipped_recipes

    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("`, `", "` `")
    families = {name.rpartition("/")[0] or name for name in shipped_recipes()}
    assert all(family in text for family in families)
