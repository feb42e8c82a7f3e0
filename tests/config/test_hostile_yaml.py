"""YAML that no person means: refused in two short lines, at once and in little memory."""

import os
import socket
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from cifarlab.evaluation.groups import read_groups
from cifarlab.experiments.search.definition import find_search
from cifarlab.experiments.study.definition import find_study
from cifarlab.recipes.catalog import find as find_recipe
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import apply_overrides, build, from_yaml
from cifarlab.system.errors import CifarlabError, RecipeError

MANY = "".join(f"k{n}: 1\n" for n in range(60_000))
HOSTILE = {
    "aliases in aliases": "- &a0 [x, x]\n"
    + "".join(f"- &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 30)),
    "aliases beside each other": "- &a [1]\n- *a\n",
    "an alias as a key": "&a seed: *a\n",
    "a mapping in itself": "&a {seed: *a}\n",
    "60,000 keys": MANY,
    "60,000 keys further in": "optimizer:\n" + "".join(f"  k{n}: 1\n" for n in range(60_000)),
    "60,000 numbers as keys": "{" + ",".join(map(str, range(60_000))) + "}",
    "a key given twice after 60,000": MANY + "k0: 2\n",
    "a list as a key": "? [1, 2]\n: 3\n",
    "deep lists": "seed: " + "[" * 200_000,
    "deep lists that end": "seed: " + "[" * 400 + "]" * 400,
    "deep lines": "".join(" " * n + "-\n" for n in range(500)),
    "a time that is none": "seed: !!timestamp x\n",
    "a number that is none": "seed: !!int ''\n",
    "a float that is none": "optimizer: {lr: !!float ''}\n",
    "a number of 24,000 bits": f"seed: 0x{'f' * 6000}\n",
    "a number of 6,000 digits": f"seed: {'9' * 6000}\n",
    "bytes that are none": "seed: !!binary x\n",
    "a command": "seed: !!python/object/apply:os.system [ls]\n",
    "a long text": f"seed: {'x' * 500_000}\n",
    "a long key": f"{'x' * 900}: 1\n",
    "a long duration": f"training: {{duration: '{'1' * 500_000}'}}\n",
    "half a character": 'name: "\\ud800"\n',
    "a file of 2 MB": "#" * 2**21,
}


def refusal(read: Callable, path: object) -> list[str]:
    """Return the lines of the error that reading raises, which must come at once."""
    start = time.process_time()
    with pytest.raises(CifarlabError) as caught:
        read(path)
    assert time.process_time() - start < 20  # 60,000 keys take one on an idle machine
    return str(caught.value).splitlines()


def is_short(lines: list[str]) -> bool:
    """Return whether an error has two lines, of less than 1,000 characters."""
    return len(lines) == 2 and sum(map(len, lines)) < 1000


@pytest.mark.parametrize("name", HOSTILE)
def test_in_a_recipe(tmp_path: Path, name: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(HOSTILE[name])
    tracemalloc.start()
    lines = refusal(from_yaml, path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert is_short(lines) and peak < 2e8


@pytest.mark.parametrize(
    "read", [find_study, find_search, lambda path: read_groups(Path(path), ["cat"])]
)
def test_in_studies_searches_and_groups(tmp_path: Path, read: Callable) -> None:
    for name in ("aliases in aliases", "60,000 keys", "deep lists", "a time that is none"):
        (tmp_path / "mine.yaml").write_text(HOSTILE[name])
        assert is_short(refusal(read, str(tmp_path / "mine.yaml")))


def test_what_is_no_plain_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.yaml"))
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    (tmp_path / "folder.yaml").mkdir()
    for name in ("pipe.yaml", "socket.yaml", "zero.yaml", "folder.yaml", "x" * 300 + ".yaml"):
        assert is_short(refusal(from_yaml, tmp_path / name))
    os.mkfifo(tmp_path / "pipe")
    for find in (find_recipe, find_study, find_search):
        with pytest.raises(RecipeError, match="it is a pipe, no plain file\nsave its content"):
            find(str(tmp_path / "pipe"))


@pytest.mark.parametrize("key", ["seed", "first_seed"])
def test_a_seed_that_is_too_large_gets_its_range(tmp_path: Path, key: str) -> None:
    read = {"seed": find_recipe, "first_seed": find_study}[key]
    (tmp_path / "mine.yaml").write_text(f"{key}: {'9' * 20}\n")
    message = f"{key} can't be {'9' * 20}: input should be less than or equal to 4294967295"
    with pytest.raises(RecipeError, match=message):
        read(str(tmp_path / "mine.yaml"))


def test_a_number_of_base_60_takes_no_time(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"seed: 1{':59' * 300_000}\n")
    assert is_short(refusal(from_yaml, tmp_path / "mine.yaml"))


@pytest.mark.parametrize("value", ["0x" + "f" * 6000, "9" * 6000, "!!timestamp x", "&a [*a]"])
def test_on_the_command_line(value: str) -> None:
    assert is_short(refusal(lambda _: apply_overrides(Recipe(), [f"seed={value}"]), Path()))


@pytest.mark.parametrize(
    "tree",
    [2**30_000, {"seed": 2**30_000}, {"model": {"stem_width": 2**63}}],
    ids=["all", "seed", "stem_width"],
)
def test_from_python(tree: object) -> None:
    assert is_short(refusal(lambda _: build(tree), Path()))


@pytest.mark.parametrize("name", ["..", ".", "a/..", "a/../b", ".hidden", "x" * 121, "ä" * 61])
def test_a_name_that_is_no_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecipeError, match="name"):
        build({"name": name})
    for read in (find_study, find_search):
        row = "rows: [{name: r, recipe: quickstart}]"
        space = "recipe: quickstart\nspace: {optimizer.momentum: {kind: uniform, low: 0, high: 1}}"
        path = tmp_path / "mine.yaml"
        path.write_text(f"name: {name}\n{row if read is find_study else space}\n")
        with pytest.raises(RecipeError, match="name"):
            read(str(path))
        path.write_text(path.read_text().replace(f"name: {name}\n", "name: a.b/+c\n"))
        assert read(str(path)).name == "a.b/+c"
