"""The server's process: its address, its end, and the command ``cifarlab-serve``."""

import argparse
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cifarlab_serve.exported import ExportedNetwork, ServeError
from cifarlab_serve.limits import is_loopback
from cifarlab_serve.settings import HOST, LIMITS, OPTIONS, PORT, TOKEN_VARIABLE, Limits

if TYPE_CHECKING:
    import uvicorn

_MOST_SECONDS = 3600


def serve(
    exported: Path,
    *,
    host: str = HOST,
    port: int = PORT,
    token: str | None = None,
    resize_mode: str | None = None,
    threads: int | None = None,
    limits: Limits | None = None,
    check: bool = False,
    log: Callable[[str], None] = print,
) -> None:
    """Serve an exported network until SIGTERM or Ctrl-C, then finish what was begun.

    Args:
        exported: the file or its folder, as ``ExportedNetwork`` takes it
        host: the address to listen on
        port: 0 takes a free one
        token: what a client must send, None: nothing
        resize_mode: as ``ExportedNetwork`` takes it
        threads: of the network; None: one for each core
        limits: what requests may cost; None: as ``Limits`` has it
        check: only load the network
        log: gets the URL

    Raises:
        ServeError: the file or an option can't be served, the port is in use, ``host`` is not
            this machine and there is no token, or the token is empty or no client could send it
    """
    limits = limits or Limits()
    _check(limits, threads)
    _check_token(token)
    if not (is_loopback(host) or token):
        raise ServeError(
            f"on {host} others can reach the server, so it needs a token",
            f"set {TOKEN_VARIABLE} or give --token; or leave --host as it is",
        )
    if check:
        network = ExportedNetwork(exported, resize_mode, threads)
        lies = "its certificate lies beside it" if network.certified else "not certified"
        log(f"{exported} can be served; {lies}")
        return
    # uvicorn raises the signal that ended it anew: as an interrupt it ends no process by a signal,
    # and ends one that is not yet up, or the first of a container, too
    with _signals_interrupt(), suppress(KeyboardInterrupt), _bind(host, port) as server_socket:
        server = _build_server(ExportedNetwork(exported, resize_mode, threads), limits, token)
        name = f"[{host.strip('[]')}]" if ":" in host else host
        log(f"serving {exported}: http://{name}:{server_socket.getsockname()[1]}/predict")
        server.run(sockets=[server_socket])


def _build_server(network: ExportedNetwork, limits: Limits, token: str | None) -> "uvicorn.Server":
    """Return the HTTP server of a network."""
    import uvicorn

    from cifarlab_serve.app import build_app
    from cifarlab_serve.connections import BoundedProtocol

    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    config = uvicorn.Config(
        build_app(network, limits, token),
        http=partial(BoundedProtocol, limits=limits),  # type: ignore[arg-type]
        backlog=256,  # all of which are accepted before the first is counted
        log_level="error",  # not a line for each piece of nonsense
        server_header=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=int(2 * limits.timeout) + 1,
    )
    return uvicorn.Server(config)


def _check(limits: Limits, threads: int | None) -> None:
    """Raise ServeError for an option that can't be."""
    least = min(limits.batch, limits.queue, limits.pixels, limits.timeout)
    if not (least > 0 and limits.timeout <= _MOST_SECONDS):  # nor nan
        what = "--batch, --queue, --pixels and --timeout are above 0"
        raise ServeError(what, f"take another number; --timeout: {_MOST_SECONDS} at most")
    most = os.cpu_count() or 1
    if threads is not None and not 1 <= threads <= most:
        what = f"{threads} threads: this machine has {most} processors"
        raise ServeError(what, f"take 1 to {most}, or leave it out")


def _check_token(token: str | None) -> None:
    """Raise ServeError for a token that is empty, or that clients can't send as it is."""
    if token is None:
        return
    hint = "take letters, digits and signs of ASCII"
    if not token:  # of a variable that is not set: whoever gives a token wants to be asked for it
        raise ServeError("the token is empty", f"{hint}; or leave --token out")
    if not (token.isascii() and token.isprintable()):
        what = "the token has characters that clients send in different ways, or not at all"
        raise ServeError(what, hint)
    if token != token.strip():
        raise ServeError("the token begins or ends with white space, which HTTP leaves out", hint)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family)
    except (OSError, OverflowError) as error:
        what = f"can't listen on {host}, port {port}: {getattr(error, 'strerror', None) or error}"
        raise ServeError(what, "--port 0 takes a free one") from error


def main() -> None:
    """Run the command ``cifarlab-serve``.

    Raises:
        SystemExit: what was asked for is refused
    """
    options = vars(parser().parse_args())
    limits = Limits(**{key: options.pop(key) for key in LIMITS})
    if options["token"] is None:
        options["token"] = os.environ.get(TOKEN_VARIABLE) or None
    try:
        serve(**options, limits=limits, log=partial(print, flush=True))
    except ServeError as error:
        sys.stderr.write(f"error: {error.what}\n{error.hint}\n")
        raise SystemExit(2) from error


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line of ``cifarlab-serve``."""
    defaults, about = Limits(), (serve.__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="cifarlab-serve", description=about)
    parser.add_argument("exported", type=Path, help=OPTIONS["exported"])
    for name, kind, default in (
        ("host", str, HOST),
        ("port", int, PORT),
        ("token", str, None),
        ("resize_mode", str, None),
        ("threads", int, None),
        *((name, type(getattr(defaults, name)), getattr(defaults, name)) for name in LIMITS),
    ):
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=kind, default=default, help=OPTIONS[name])
    parser.add_argument("--check", action="store_true", help=OPTIONS["check"])
    return parser
