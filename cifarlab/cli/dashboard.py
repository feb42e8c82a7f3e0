"""Commands about this machine: dashboard, check."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from cifarlab.cli.app import app, echo, takes_plugins


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


@app.command()
def check() -> None:
    """Machine, precision, libraries, data: what will be used."""
    from cifarlab.cli.machine import findings
    from cifarlab.system.terminal import print_table

    print_table(("what", "found"), findings())
