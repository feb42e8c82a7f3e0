"""Commands about this machine: dashboard, check."""

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from cifarlab.cli.app import SettingsCommand, app, echo, takes_plugins
from cifarlab.cli.options import Data, Settings


@app.command()
@takes_plugins
def dashboard(
    runs: Annotated[Path, Argument(metavar="[RUNS_DIR]", help="a folder of runs")] = Path("runs"),
    host: Annotated[str, Option(help="to listen on; another one: with a password")] = "127.0.0.1",
    port: Annotated[int, Option(help="0: a free one")] = 8642,
    password: Annotated[
        str | None, Option(envvar="CIFARLAB_DASHBOARD_PASSWORD", help="what a visitor must give")
    ] = None,
    open_browser: Annotated[bool, Option("--open/--no-open", help="open a browser")] = True,
) -> None:
    """Show runs, studies and searches in a browser, and try images; Ctrl-C ends it."""
    from cifarlab.dashboard.serve import serve

    serve(runs, host=host, port=port, password=password, open_browser=open_browser, log=echo)


@app.command(cls=SettingsCommand)
@takes_plugins
def check(
    recipe: Annotated[str | None, Argument(help="a name or a YAML file: how long it takes")] = None,
    settings: Settings = None,
    data: Data = None,
    benchmark: Annotated[bool, Option("--benchmark", help="measure speed, for 30 seconds")] = False,
    plugins: tuple[Any, ...] = (),
) -> None:
    """Machine, precision, libraries, data: what will be used; how long RECIPE will take."""
    from cifarlab.cli.machine import findings, print_forecasts, print_speed
    from cifarlab.recipes.catalog import find
    from cifarlab.recipes.text import apply_overrides
    from cifarlab.system.terminal import print_table

    options = {} if data is None else {"data.source": data}
    recipes = [apply_overrides(find(recipe, plugins), settings or [], options)] if recipe else []
    print_table(("what", "found"), findings())
    if benchmark:
        print_speed()
    if benchmark or recipe:
        print_forecasts(recipes, benchmark)
