"""The application, what its commands share, and how errors leave it."""

import errno
import json
import os
import re
import shlex
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import wraps
from inspect import Parameter, signature
from itertools import pairwise
from typing import Annotated, Any, TextIO, cast

import typer
from typer.core import TyperCommand

from cifarlab import __version__
from cifarlab.cli.options import Plugins, Trust
from cifarlab.system.errors import (
    CifarlabError,
    Interrupted,
    OutOfMemoryError,
    ProcessLostError,
    UserError,
)
from cifarlab.system.files import reason, to_utf8
from cifarlab.system.output import Output

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_LOST_OUTPUT = "what it printed is lost; files that it writes are there"


def takes_plugins(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that reads recipes or runs ``--plugin`` and ``--trust-plugins``.

    The named files are approved; a command with a parameter ``plugins`` gets the ``Plugin``s, for
    its recipe. One with a parameter ``plugin`` gets the names and approves them itself.
    """
    command_signature = signature(command)
    parameters = dict(command_signature.parameters)
    passes_plugins = parameters.pop("plugins", None) is not None
    passes_names = "plugin" in parameters

    @wraps(command)
    def wrapper(*args: Any, trust_plugins: bool, plugin: list[str] | None, **kwargs: Any) -> None:
        from cifarlab.config.plugins import plugin_session

        with plugin_session(() if passes_names else plugin or (), trust_plugins) as plugins:
            kwargs |= {"plugin": plugin} if passes_names else {}
            kwargs |= {"plugins": plugins} if passes_plugins else {}
            command(*args, **kwargs)

    for name, option, default in (("plugin", Plugins, None), ("trust_plugins", Trust, False)):
        parameter = Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=option)
        parameters.setdefault(name, parameter)
    wrapper.__signature__ = command_signature.replace(parameters=[*parameters.values()])  # type: ignore[attr-defined]
    return wrapper


class SettingsCommand(TyperCommand):
    """A command with key=value arguments; a setting written as an option is refused with a hint."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments as Typer does.

        Raises:
            UserError: an option is none of this command's, but the name of a setting
        """
        options = {name for param in self.params for name in (*param.opts, *param.secondary_opts)}
        for arg, next_arg in pairwise([*args, "-"]):
            option, equals, value = arg.partition("=")
            if not option.startswith("-") or option in options:
                continue
            option_value = value if equals else None if re.match(r"-|.*=", next_arg) else next_arg
            from cifarlab.recipes.hints import advice

            if hint := advice(option.lstrip("-"), option_value):
                raise UserError(f"no such option: {option}", hint)
        return super().parse_args(ctx, args)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        echo(f"cifarlab {__version__}")
        raise typer.Exit


@app.callback()
def _refuse_torchrun(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="the version")
    ] = False,
) -> None:
    """Which recipe is better, by how much, and is that real?"""
    if context.invoked_subcommand != "train" and _local_rank() is not None:
        raise UserError(
            f"torchrun started 'cifarlab {context.invoked_subcommand}' several times at once",
            "under torchrun goes 'train' alone: start this without it",
        )


def parse_formats(figures: str) -> list[str]:
    """Return the formats that ``--figures`` lists."""
    return [name.strip() for name in figures.split(",")]


def command_line() -> str:
    """Return the command as it was typed, for the provenance of what it makes."""
    return to_utf8(shlex.join(["cifarlab", *sys.argv[1:]]))


def echo(text: str) -> None:
    """Print a line without wrapping it, however long it is."""
    sys.stdout.write(text + "\n")


def print_json(tree: Any) -> None:
    """Print plain values as indented JSON."""
    sys.stdout.write(json.dumps(tree, indent=2) + "\n")


def _local_rank() -> int | None:
    """Return this process's rank among torchrun's on this machine; None without torchrun."""
    return int(os.environ["LOCAL_RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else None


def main() -> None:
    """Run the command line and exit; an error of ours is printed as two lines, without a trace."""
    output, errors = Output(sys.stdout), Output(sys.stderr)
    with redirect_stdout(cast(TextIO, output)), redirect_stderr(cast(TextIO, errors)):
        code = _run()
        output.flush()
        if output.failure and not code:
            code = 1
            if output.failure.errno != errno.EPIPE:  # the reader of a pipe may close it early
                what = f"can't write the output: {output.failure.strerror}"
                _print_error("failed", what, _LOST_OUTPUT)
        errors.flush()
    sys.exit(code)


def _run() -> int:
    """Run the command line; return its exit code."""
    try:
        app()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else bool(error.code)
    except CifarlabError as error:
        # rank 0 of each machine prints errors; other ranks print those that can kill rank 0 first
        if not _local_rank() or isinstance(error, OutOfMemoryError | ProcessLostError):
            failure = "stopped" if isinstance(error, Interrupted) else "failed"
            kind = "error" if isinstance(error, UserError) else failure
            _print_error(kind, error.what, error.hint)
        return error.exit_code
    except OSError as error:  # one that no other code has turned into an error of ours
        _print_error("failed", reason(error), "check that path, the disk and its permissions")
        return 1
    return 0


def _print_error(kind: str, what: str, hint: str) -> None:
    """Print two lines on standard error; line breaks in names of files become spaces."""
    what, hint = (" ".join(text.splitlines()) for text in (what, hint))
    sys.stderr.write(f"{kind}: {what}\n  {hint}\n")  # typer.echo would go past Output
