"""Packages that only some commands need, and the extra that installs them."""

import importlib

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
            what = f"{subject} needs {package.partition('.')[0]}, which is not installed"
            raise MissingExtraError(what, f"pip install 'cifarlab[{extra}]'") from error
