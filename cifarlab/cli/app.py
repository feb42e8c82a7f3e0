"""The application, what its commands share, and how errors leave it."""

import errno
import os
import re
import shlex
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import wraps
from inspect import Parameter, signature
from itertools import pairwise
from typing import Any, TextIO, cast

import typer
from typer.core import TyperCommand

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
_WRITTEN = "what it printed is lost; files that it writes are there"


def takes_plugins(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that reads recipes or runs ``--plugin`` and ``--trust-plugins``.

    A command with a parameter ``plugin`` adds them to its recipe; for others they are approved.
    """
    inner = signature(command)
    adds = "plugin" in inner.parameters

    @wraps(command)
    def wrapped(*args: Any, trust_plugins: bool, plugin: list[str] | None, **kwargs: Any) -> None:
        from cifarlab.config.plugins import approve_all_plugins, approve_plugins

        if adds:
            kwargs["plugin"] = plugin
        else:
            approve_plugins(plugin or [])
        with approve_all_plugins(trust_plugins):
            command(*args, **kwargs)

    parameters = dict(inner.parameters)
    added: dict[str, Any] = {"plugin": Plugins, "trust_plugins": Trust}
    for name, option in added.items():
        default = False if name == "trust_plugins" else None
        parameter = Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=option)
        parameters.setdefault(name, parameter)
    wrapped.__signature__ = inner.replace(parameters=[*parameters.values()])  # type: ignore[attr-defined]
    return wrapped


class SettingsCommand(TyperCommand):
    """A command with key=value arguments, which tells what an option of other tools is called."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Raise UserError for an option that is none here, but a setting."""
        known = {name for param in self.params for name in (*param.opts, *param.secondary_opts)}
        for arg, following in pairwise([*args, "-"]):
            option, equals, value = arg.partition("=")
            if not option.startswith("-") or option in known:
                continue
            option_value = value if equals else None if re.match(r"-|.*=", following) else following
            if hint := option_hint(option, option_value):
                raise UserError(f"no such option: {option}", hint)
        return super().parse_args(ctx, args)


def option_hint(option: str, value: str | None) -> str | None:
    """Return what to write in the place of an option; None where it is like no setting."""
    from cifarlab.recipes.hints import advice

    return advice(option.lstrip("-"), value)


@app.callback()
def one_process(context: typer.Context) -> None:
    """Which recipe is better, by how much, and is that real?"""
    if context.invoked_subcommand != "train" and _process() is not None:
        raise UserError(
            f"torchrun started 'cifarlab {context.invoked_subcommand}' several times at once",
            "under torchrun goes 'train' alone: start this without it",
        )


def formats(figures: str) -> list[str]:
    """What --figures names."""
    return [name.strip() for name in figures.split(",")]


def command_line() -> str:
    """Return the command as it was typed, for provenance and for what goes on."""
    return to_utf8(shlex.join(["cifarlab", *sys.argv[1:]]))


def say(text: str) -> None:
    """Print a line, whole however long it is."""
    from cifarlab.system.terminal import console

    console.print(text)


def _process() -> int | None:
    """Return this process's number among torchrun's on this machine, counted from 0.

    None without torchrun.
    """
    return int(os.environ["LOCAL_RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else None


def main() -> None:
    """Run the command line; an error of ours is two lines on standard error and an exit code."""
    output, errors = Output(sys.stdout), Output(sys.stderr)
    with redirect_stdout(cast(TextIO, output)), redirect_stderr(cast(TextIO, errors)):
        code = _run()
        output.flush()
        if output.failure and not code:
            code = 1
            if output.failure.errno != errno.EPIPE:  # whoever reads a pipe may leave
                _complain("failed", f"can't write the output: {output.failure.strerror}", _WRITTEN)
        errors.flush()
    sys.exit(code)


def _run() -> int:
    """Run the command line; its exit code."""
    try:
        app()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else bool(ended.code)
    except CifarlabError as error:
        # on each machine the first process speaks; others of what it may not live to know
        if not _process() or isinstance(error, OutOfMemoryError | ProcessLostError):
            ended_by = "stopped" if isinstance(error, Interrupted) else "failed"
            word = "error" if isinstance(error, UserError) else ended_by
            _complain(word, error.what, error.hint)
        return error.exit_code
    except OSError as error:  # of a path that nobody foresaw
        _complain("failed", reason(error), "check that path, the disk and its permissions")
        return 1
    return 0


def _complain(kind: str, what: str, hint: str) -> None:
    """Print two lines on standard error, whatever a file has written into them."""
    what, hint = (" ".join(text.splitlines()) for text in (what, hint))
    sys.stderr.write(f"{kind}: {what}\n  {hint}\n")  # typer.echo would go past Output
