"""Every block that README and docs show is executed, loaded or compared, in their order.

``sh``: commands, run. ``python``: snippets, run. ``yaml``: loaded by its schema. ``console``: what
the commands above it print, compared but for its numbers; a line after ``$`` is run, and refused as
shown. ``bash``: commands that need a network, a server or other machines; their words are checked.
``text``: drawings, and what no command here prints. Training is cut to a few steps and sees small
images made here, studies and searches are cut to a few runs; otherwise a line runs as it is
written. A block that begins with a file's name in a comment is saved as that file.
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
import yaml
from pictures import PICTURES
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from cifarlab.cli import app
from cifarlab.experiments.search.definition import find_search, validate_space
from cifarlab.experiments.study.definition import find_study
from cifarlab.recipes.catalog import find
from cifarlab.recipes.text import validate_config
from cifarlab.system.errors import UserError
from cifarlab.training.callbacks import CallbacksConfig

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


def run_line(line: str) -> str:
    words = shlex.split(line, comments=True)
    if words[0] == "torchrun":
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", *words[1:], SHORT]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert words[0] == "cifarlab", f"a command that no test runs: {line}"
    if words[1] == "train" and "--extend" not in words:
        words.append(SHORT)
    if words[1:] == ["study", "quickstart"]:
        words += ["--scale", "0.1"]
    outcome = CliRunner().invoke(app, words[1:])
    assert outcome.exit_code == 0, f"{line}\n{outcome.output}\n{outcome.exception!r}"
    return outcome.output


def words_of(line: str) -> list[str]:
    """The words of a printed line; numbers, verdicts and the machine's part are blanks."""
    line = re.sub(r"undecided|better|worse|the (same|baseline)( within [\d.]+ points?)?", "V", line)
    line = re.sub(r"\b(cpu|cuda(:\d+)?|bfloat16|float32)\b", "M", line.removesuffix("..."))
    return re.sub(r"[+-]?\d[\d.,]*(e-\d+)?", "#", line).split()


def is_printed(line: str, printed: list[str]) -> bool:
    """Whether a command printed the line, or one that has more words (a shortened table)."""
    rests = (iter(words_of(each)) for each in printed)
    return any(all(word in rest for word in words_of(line)) for rest in rests)


def check_transcript(transcript: str, printed: list[str]) -> None:
    lines = transcript.splitlines()
    for line in filter(str.strip, lines):
        if not line.startswith("$ cifarlab "):
            assert is_printed(line, printed), f"no command printed: {line}"
            continue
        with pytest.raises(UserError) as refused:
            CliRunner().invoke(app, shlex.split(line)[2:], catch_exceptions=False)
        shown = [f"error: {refused.value.what}", f"  {refused.value.hint}"]
        assert shown == lines[lines.index(line) + 1 :]
        return


def load(text: str) -> None:
    """Load a recipe, a study, a search or a part of one as the program does."""
    tree, name = yaml.safe_load(text), "shown.yaml"
    Path(name).write_text(text, encoding="utf-8")
    if "space" in tree:
        search = find_search(name)
        validate_space(search, search.base_recipe())
    elif "rows" in tree:
        assert find_study(name).recipes()
    elif set(tree) == {"callbacks"}:
        assert validate_config(CallbacksConfig, tree, name).build_callbacks()
    else:
        find(name)


def check_words(line: str) -> None:
    """Check what a command names that can't be run here: files, extras, options of ours."""
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    elif words[0] in ("pip", "sbatch"):
        named = words[2 if words[0] == "pip" else 1].partition("[")[0]
        assert named == "cifarlab" or (ROOT / named).exists(), line
    elif words[0] in ("cifarlab", "torchrun", ".venv/bin/cifarlab", "ssh"):
        ours = words[[Path(word).name for word in words].index("cifarlab") + 1 :]
        command = get_command(app).commands[ours[0]]  # type: ignore[attr-defined]
        command.make_context(ours[0], ours[1:]).close()
    else:
        assert words[0] in ("ray", "curl", "cifarlab-serve"), f"a command that is unknown: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_what_a_page_shows_works(page: Path, working_folder: Path) -> None:
    names: dict[str, object] = {}
    printed: list[str] = []
    for language, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if name := re.match(r"# (\w+\.(?:py|yaml))\n", block):
            for text, short in SHORTER.items():
                block = block.replace(text, short)
            Path(name[1]).write_text(block, encoding="utf-8")
        elif language == "python":
            exec(compile(block, str(page), "exec"), names)
        elif language == "yaml":
            load(block)
        elif language == "console":
            check_transcript(block, printed)
        elif language == "sh":
            for line in filter(str.strip, block.splitlines()):
                printed += run_line(line).splitlines()
        elif language == "bash":
            for line in filter(str.strip, block.splitlines()):
                check_words(line)
        else:
            assert language == "text", f"{page.name} has a block that no test runs"
    for shown in PICTURES.get(page.relative_to(ROOT).as_posix().removeprefix("docs/"), {}).values():
        assert Path(shown).exists(), f"{page.name} has a picture of what its commands do not make"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_no_block_is_hidden_from_the_tests(page: Path) -> None:
    """An indented block has no language."""
    outside = BLOCK.sub("", page.read_text(encoding="utf-8"))
    assert "```" not in outside.replace("```{", "")
    assert not re.findall(r"\n\n {4,}\S.*", outside)


def test_contributing_says_what_is_done_with_each_kind_of_block() -> None:
    shown = {name for page in PAGES for name, _ in BLOCK.findall(page.read_text(encoding="utf-8"))}
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    sentence = text.partition("**Documents are executed.**")[2].partition("A new page")[0]
    assert shown == set(re.findall(r"`([a-z]+)`", sentence))


def test_the_first_hour_s_accuracies_are_those_of_its_run(tmp_path: Path) -> None:
    """Another processor rounds otherwise, so that a few images may fall the other way."""
    page = (ROOT / "docs" / "first-hour.md").read_text(encoding="utf-8")
    outcome = CliRunner().invoke(app, ["train", "quickstart", "--run", str(tmp_path / "run")])
    for split in ("val", "test"):
        pattern = rf"^{split} accuracy ([\d.]+) %.* interval ([\d.]+) to ([\d.]+), n = (\d+)"
        [[shown, _, _, n]] = re.findall(pattern, page, re.MULTILINE)
        [[_, low, high, n_measured]] = re.findall(pattern, outcome.output, re.MULTILINE)
        assert float(low) <= float(shown) <= float(high) and n == n_measured


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
