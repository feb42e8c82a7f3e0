"""The server's process: its address, its end, and the command ``cifarlab-serve``."""

import argparse
import logging
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from cifarlab_serve.exported import ExportedNetwork, ServeError
from cifarlab_serve.limits import is_loopback
from cifarlab_serve.settings import Limits

TOKEN_VARIABLE = "CIFARLAB_SERVE_TOKEN"
PORT = 8643


def serve(
    exported: Path,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    token: str | None = None,
    resize_mode: str | None = None,
    threads: int | None = None,
    limits: Limits | None = None,
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
        log: gets the URL

    Raises:
        ServeError: the file or an option can't be served, the port is in use, or ``host`` is not
            this machine and there is no token
    """
    limits = limits or Limits()
    if min(limits.batch, limits.queue, limits.timeout, 1 if threads is None else threads) <= 0:
        raise ServeError("--batch, --queue, --timeout and --threads are above 0", "raise it")
    if not (is_loopback(host) or token):
        raise ServeError(
            f"on {host} others can reach the server, so it needs a token",
            f"set {TOKEN_VARIABLE} or give --token; or leave --host as it is",
        )
    with _bind(host, port) as server_socket:
        network = ExportedNetwork(exported, resize_mode, threads)
        import uvicorn

        from cifarlab_serve.app import build_app
        from cifarlab_serve.connections import BoundedProtocol

        logging.getLogger("python_multipart").setLevel(logging.ERROR)
        config = uvicorn.Config(
            build_app(network, limits, token or None),
            http=partial(BoundedProtocol, limits=limits),  # type: ignore[arg-type]
            backlog=256,  # all of which are accepted before the first is counted
            log_level="error",  # not a line for each piece of nonsense
            server_header=False,
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=int(2 * limits.timeout) + 1,
        )
        name = f"[{host.strip('[]')}]" if ":" in host else host
        log(f"serving {exported}: http://{name}:{server_socket.getsockname()[1]}/predict")
        with suppress(KeyboardInterrupt):  # uvicorn raises it after its end
            uvicorn.Server(config).run(sockets=[server_socket])


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family)
    except (OSError, OverflowError) as error:
        what = f"can't listen on {host}, port {port}: {getattr(error, 'strerror', None) or error}"
        raise ServeError(what, "--port 0 takes a free one") from error


def main() -> None:
    """Run the command ``cifarlab-serve``."""
    defaults = Limits()
    parser = argparse.ArgumentParser(prog="cifarlab-serve", description=(serve.__doc__ or "")[:78])
    parser.add_argument("exported", type=Path, help="a file of 'cifarlab export', or its folder")
    parser.add_argument("--host", default="127.0.0.1", help="another one: with a token")
    parser.add_argument("--port", type=int, default=PORT, help="0: a free one")
    parser.add_argument("--token", help=f"what a client must send; better in {TOKEN_VARIABLE}")
    parser.add_argument("--resize-mode", help="error, crop, pad or stretch; default: the run's")
    parser.add_argument("--threads", type=int, help="of the network; default: one for each core")
    parser.add_argument("--batch", type=int, default=defaults.batch, help="images at a time")
    parser.add_argument("--queue", type=int, default=defaults.queue, help="images that may wait")
    parser.add_argument("--timeout", type=float, default=defaults.timeout, help="seconds")
    options = vars(parser.parse_args())
    limits = replace(defaults, **{key: options.pop(key) for key in ("batch", "queue", "timeout")})
    options["token"] = options["token"] or os.environ.get(TOKEN_VARIABLE)
    try:
        serve(**options, limits=limits, log=partial(print, flush=True))
    except ServeError as error:
        sys.stderr.write(f"error: {error.what}\n{error.hint}\n")
        raise SystemExit(2) from error
