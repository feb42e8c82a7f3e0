"""A recipe by its name or its file; a name that is neither is answered with the nearest."""

import pytest

from cifarlab.recipes.catalog import find
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change, fingerprint, to_yaml
from cifarlab.system.errors import RecipeError


@pytest.mark.parametrize("file", ["mine.yaml", "mine.yml", "mine.txt", "mine"])
def test_by_file(file, tmp_path):
    recipe = change(find("quickstart"), {"seed": 7, "name": "theirs"})
    (tmp_path / file).write_text(to_yaml(recipe))
    assert find(str(tmp_path / file)) == recipe


def test_a_file_without_a_name_is_named_after_itself(tmp_path):
    (tmp_path / "mine.yaml").write_text("seed: 7")
    recipe = find(str(tmp_path / "mine.yaml"))
    assert recipe.name == "mine"
    assert fingerprint(recipe) == fingerprint(change(Recipe(), {"seed": 7}))


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("quikstart", "quickstart"),
        ("fudan/resnet_24", "fudan/resnet24"),
        ("resnet-18", "resnet18"),
        ("kth2024/basline", "kth2024/baseline"),
    ],
)
def test_an_unknown_name_gets_the_nearest(wrong, nearest):
    with pytest.raises(RecipeError) as caught:
        find(wrong)
    what, hint = str(caught.value).split("\n")
    assert what == f"no recipe is called {wrong!r}"
    assert hint.startswith(f"did you mean {nearest!r}? 'cifarlab recipes list' lists all")


def test_a_long_name_is_shortened():
    with pytest.raises(RecipeError) as caught:
        find("x" * 300)
    assert len(caught.value.what) < 100


def test_a_name_like_nothing():
    with pytest.raises(RecipeError, match=r"\n'cifarlab recipes list' lists all"):
        find("%%%")


@pytest.mark.parametrize("file", ["missing.yaml", "missing.yml"])
def test_a_missing_file(file):
    with pytest.raises(RecipeError, match=f"can't read the recipe {file}"):
        find(file)


def test_a_wrong_key_in_a_file_names_the_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("sed: 7")
    with pytest.raises(RecipeError) as caught:
        find(str(path))
    assert str(caught.value).startswith(f"{path}: unknown key 'sed'\ndid you mean 'seed'?")


def test_a_file_whose_name_has_a_space_needs_no_name_inside(tmp_path):
    path = tmp_path / "my recipe.yaml"
    path.write_text("seed: 7")
    assert find(str(path)).seed == 7


def test_a_file_that_changes_another_recipe(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("base: quickstart\noverrides: {optimizer.lr: 0.2, seed: 7}")
    expected = {"optimizer.lr": 0.2, "seed": 7, "name": "mine"}
    assert find(str(path)) == change(find("quickstart"), expected)
    other = tmp_path / "other.yaml"
    other.write_text(f"name: theirs\nbase: {path}\noverrides: {{seed: 8}}")
    assert find(str(other)) == change(find(str(path)), {"seed": 8, "name": "theirs"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: quikstart", "no recipe is called 'quikstart'\ndid you mean 'quickstart'?"),
        ("base: mine.yaml", "the recipe mine.yaml has itself as a base\n"),
        ("base: 3", r"mine.yaml: base can't be 3: input should be a valid string\n"),
        (
            "base: quickstart\noptimizer: {lr: 0.2}",
            "mine.yaml: unknown key 'optimizer'\nwrite what it changes under overrides",
        ),
        ("base: quickstart\nseed: 3", "unknown key 'seed'\nwrite what it changes under overrides"),
        ("base: quickstart\nbsae: 3", "unknown key 'bsae'\ndid you mean 'base'?"),
        (
            "base: quickstart\noverrides: {name: zz, foo.bar: 1}",
            "mine.yaml: unknown key 'foo.bar'\n'cifarlab recipes keys'",
        ),
        (
            "base: quickstart\noverrides: {optimizer.lr: 0.2, optimizer.foo.bar: 1}",
            "mine.yaml: unknown key 'optimizer.foo.bar'\ndid you mean 'optimizer.lr'",
        ),
        ("base: quikstart", "^mine.yaml: no recipe is called"),
        ("base: other.yaml", "^mine.yaml: can't read the recipe other.yaml"),
        (
            "base: quickstart\noverrides: {optimizer.rat: 0.2}",
            "mine.yaml: unknown key 'optimizer.rat'\ndid you mean 'optimizer.lr'?",
        ),
    ],
)
def test_a_bad_base_says_what_is_wrong(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(RecipeError, match=message):
        find("mine.yaml")


def test_a_base_beside_its_file_comes_before_one_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.yaml").write_text("base: a.yaml")
    (tmp_path / "a.yaml").write_text("seed: 1")
    assert find("sub/b.yaml").seed == 1
    (tmp_path / "sub" / "a.yaml").write_text("seed: 2")
    assert find("sub/b.yaml").seed == 2
    (tmp_path / "sub" / "a.yaml").write_text("sed: 2")
    with pytest.raises(RecipeError, match=r"^sub/b.yaml: sub/a.yaml: unknown key 'sed'"):
        find("sub/b.yaml")


def test_bases_in_a_circle_end_however_they_are_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.yaml").write_text("base: ../sub/a.yaml")
    (tmp_path / "sub" / "a.yaml").write_text("base: ../sub/b.yaml")
    with pytest.raises(RecipeError, match="has itself as a base") as caught:
        find("sub/b.yaml")
    assert len(caught.value.what) < 200
