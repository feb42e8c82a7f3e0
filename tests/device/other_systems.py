"""cifarlab as it would find itself on macOS or Windows: run as a script, with a command's words.

    python other_systems.py windows --import     every module of the package
    python other_systems.py macos check          a command

What those systems lack is hidden from cifarlab alone; the libraries have builds of their own there.
"""

import builtins
import importlib
import os
import pkgutil
import re
import signal
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil

# patterns of what the standard library's documentation says is elsewhere alone
MODULES = {
    "macos": {"spwd", "ossaudiodev"},
    "windows": {"crypt", "curses", "fcntl", "grp", "nis", "ossaudiodev", "posix", "pty", "pwd"}
    | {"readline", "resource", "spwd", "syslog", "termios", "tty"},
}
OF_LINUX = (
    "sched_.* sysconf.* posix_fa.* pidfd_.* memfd_.* eventfd.* splice getrandom copy_file_range "
    ".*xattr [gs]etres[ug]id"
)
OF_UNIX = (
    "fork.* register_at_fork wait.* W[A-Z]+ killpg [gs]et(e?[ug]id|pgid|pgrp|sid|priority|groups) "
    "nice getloadavg uname mkfifo mknod f?statvfs [fl]?chown chroot fchdir openpty ctermid sync "
    "p?(read|write)v p(read|write) sendfile fdatasync posix_.* O_(NONBLOCK|DIRECTORY|CLOEXEC) "
    "O_(NOFOLLOW|SYNC|DSYNC|NOCTTY) confstr.* f?pathconf.* tc[gs]etpgrp"
)
SIGNALS_OF_LINUX = "SIGRT.* SIGPOLL SIGPWR SIGSTKFLT sigtimedwait sigwaitinfo pidfd_.*"
SIGNALS_OF_UNIX = (
    "SIG(?!ABRT|FPE|ILL|INT|SEGV|TERM|_DFL|_IGN).+ pthread_.* sig(?!nal).+ alarm [gs]etitimer "
    "ITIMER_.* pause"
)
NAMES = {
    "macos": {"os": OF_LINUX, "signal": SIGNALS_OF_LINUX},
    "windows": {
        "os": f"{OF_LINUX} {OF_UNIX}",
        "signal": f"{SIGNALS_OF_LINUX} {SIGNALS_OF_UNIX}",
    },
}


def hide_names(system: str, module: ModuleType) -> ModuleType:
    """Return a copy of the module as it is there."""
    pattern = re.compile(NAMES[system][module.__name__].replace(" ", "|"))
    copy = ModuleType(module.__name__)
    left = {k: v for k, v in vars(module).items() if not pattern.fullmatch(k)}
    vars(copy).update(left)
    return copy


def become(system: str) -> None:
    """Hide from cifarlab, which is not imported yet, what ``system`` lacks."""
    copies = {m.__name__: hide_names(system, m) for m in (os, signal)}
    if system == "windows":
        vars(copies["os"])["name"] = "nt"
        memory = SimpleNamespace(peak_wset=2**30)
        psutil.Process.memory_info = lambda _self: memory  # type: ignore[method-assign]
    original: Callable[..., Any] = builtins.__import__

    def hidden_import(name: str, *args: Any, **options: Any) -> Any:
        scope = args[0] if args else options.get("globals")
        if str((scope or {}).get("__name__", "")).startswith("cifarlab"):
            if name.partition(".")[0] in MODULES[system]:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            if name in copies:
                return copies[name]
        return original(name, *args, **options)

    builtins.__import__ = hidden_import


def main() -> None:
    become(sys.argv[1])
    if sys.argv[2:] == ["--import"]:
        for package in map(importlib.import_module, ("cifarlab", "cifarlab_serve")):
            for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                if not module.name.endswith("__main__"):
                    importlib.import_module(module.name)
        imported = [
            name for name in sys.modules if name.startswith(("cifarlab.", "cifarlab_serve."))
        ]
        sys.stdout.write(f"{len(imported)}\n")
        return
    from cifarlab.cli import main as command

    sys.argv = ["cifarlab", *sys.argv[2:]]
    command()


if __name__ == "__main__":
    main()
