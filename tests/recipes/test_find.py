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
    ("text", "told"),
    [
        ("base: quikstart", "no recipe is called 'quikstart'\ndid you mean 'quickstart'?"),
        ("base: mine.yaml", "the recipe mine.yaml has itself as a base\n"),
        ("base: 3", r"mine.yaml: base can't be 3: input should be a valid string\n"),
        (
            "base: quickstart\noptimizer: {lr: 0.2}",
            "mine.yaml: unknown key 'optimizer'\n.*Allowed: plugins, name, base, overrides",
        ),
        (
            "base: quickstart\noverrides: {optimizer.rat: 0.2}",
            "mine.yaml: unknown key 'optimizer.rat'\ndid you mean 'optimizer.lr'?",
        ),
    ],
)
def test_a_bad_base_says_what_is_wrong(tmp_path, monkeypatch, text, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(RecipeError, match=told):
        find("mine.yaml")
