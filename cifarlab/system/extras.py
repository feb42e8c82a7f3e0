"""Packages that only some commands need, and the extra that installs them."""

import importlib
import importlib.util

from cifarlab.system.errors import MissingExtraError


def require_packages(subject: str, extra: str, *packages: str) -> None:
    """Refuse to go on where a package is not installed.

    Args:
        subject: what needs the packages, as the error's first word
        extra: the extra of cifarlab that installs them
        *packages: names of modules

    Raises:
        MissingExtraError: one of them can't be imported
    """
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise _missing(subject, extra, package) from error


def require_installed(subject: str, extra: str, package: str) -> None:
    """Refuse like ``require_packages``, but import nothing: another process needs the package.

    Args:
        subject: what needs the package, as the error's first word
        extra: the extra of cifarlab that installs it
        package: the name of a module at the top

    Raises:
        MissingExtraError: it is not there
    """
    if importlib.util.find_spec(package) is None:
        raise _missing(subject, extra, package)


def _missing(subject: str, extra: str, package: str) -> MissingExtraError:
    what = f"{subject} needs {package.partition('.')[0]}, which is not installed"
    return MissingExtraError(what, f"pip install 'cifarlab[{extra}]'")
