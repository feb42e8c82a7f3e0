"""Commands about recipes: list, show, keys, lint, draw."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cifarlab.cli.app import SettingsCommand, app, parse_formats, takes_plugins
from cifarlab.cli.options import Figures

if TYPE_CHECKING:
    from cifarlab.recipes.schema import Recipe

NameArgument = Annotated[str, typer.Argument(help="a name or a YAML file")]
SettingsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="settings to change")
]
recipes_app = typer.Typer(help="What can be trained, and every setting of it.")
app.add_typer(recipes_app, name="recipes")


@recipes_app.callback(invoke_without_command=True)
def recipes(context: typer.Context) -> None:
    """What can be trained, and every setting of it (alone: the list)."""
    if context.invoked_subcommand is None:
        recipes_list()


@recipes_app.command("list")
def recipes_list() -> None:
    """All shipped recipes."""
    from cifarlab.recipes.catalog import shipped_recipes
    from cifarlab.system.terminal import print_table

    rows = [(name, shipped.text.partition("\n")[0]) for name, shipped in shipped_recipes().items()]
    print_table(("recipe", "what it is"), rows)


@recipes_app.command("show")
@takes_plugins
def recipes_show(name: NameArgument, plugins: tuple[Any, ...] = ()) -> None:
    """A recipe's source, its parameter count and its complete YAML."""
    from cifarlab.models.build import count_parameters
    from cifarlab.recipes.catalog import describe, usual_shape
    from cifarlab.recipes.text import to_yaml

    recipe = _find(name, None, plugins)
    (height, width, channels), classes = usual_shape(recipe)
    count = count_parameters(recipe.model, (height, width, channels), classes)
    typer.echo(describe(name), nl=False)
    typer.echo(
        f"# {count:,} parameters at {height} x {width} pixels, {channels} channels, "
        f"{classes} classes"
    )
    typer.echo(to_yaml(recipe), nl=False)


@recipes_app.command("keys")
@takes_plugins
def recipes_keys(plugins: tuple[Any, ...] = ()) -> None:
    """Every setting with its meaning, default and allowed values."""
    from cifarlab.config.family import allow_plugins
    from cifarlab.recipes.keys import keys
    from cifarlab.system.terminal import print_table

    with allow_plugins(plugin.sha256 for plugin in plugins):
        rows = [
            (f"{path} ({kind})" if kind else path, default, choices, meaning)
            for path, kind, meaning, default, choices in keys()
        ]
    print_table(("key", "default", "allowed", "meaning"), rows)


@recipes_app.command("lint", cls=SettingsCommand)
@takes_plugins
def recipes_lint(
    name: NameArgument, settings: SettingsArgument = None, plugins: tuple[Any, ...] = ()
) -> None:
    """What in a recipe is allowed but seldom meant: what, why it matters, what to do."""
    from cifarlab.recipes.catalog import usual_images, usual_splits
    from cifarlab.recipes.lint import lint

    recipe = _find(name, settings, plugins)
    findings = lint(recipe, usual_images(recipe), usual_splits(recipe))
    for finding in findings:
        typer.echo(str(finding))
    count = f"{len(findings)} finding{'' if len(findings) == 1 else 's'}"
    typer.echo(f"{recipe.name}: {count}")


@recipes_app.command("draw", cls=SettingsCommand)
@takes_plugins
def recipes_draw(
    name: NameArgument,
    settings: SettingsArgument = None,
    out: Annotated[Path, typer.Option(help="a folder for the figure")] = Path("figures"),
    augmentation: Annotated[
        Path | None,
        typer.Option(metavar="IMAGE", help="also an image before and after each augmentation"),
    ] = None,
    activations: Annotated[
        bool, typer.Option(help="also the activation functions with their slopes")
    ] = False,
    figures: Figures = "svg",
    plugins: tuple[Any, ...] = (),
) -> None:
    """Draw a recipe's network: blocks, shapes, parameters, multiply-adds."""
    from cifarlab.explain.explain_run import draw_recipe
    from cifarlab.system.terminal import console

    recipe = _find(name, settings, plugins)
    also: dict[str, Any] = {"image": augmentation, "activations": activations}
    for path in draw_recipe(recipe, out, **also, formats=parse_formats(figures)):
        console.print(f"drawn: {path}", soft_wrap=True)


def _find(name: str, settings: list[str] | None, plugins: tuple[Any, ...]) -> "Recipe":
    from cifarlab.recipes.catalog import find
    from cifarlab.recipes.text import apply_overrides

    return apply_overrides(find(name, plugins), settings or [])
