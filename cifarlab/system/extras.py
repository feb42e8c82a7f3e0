"""Packages that only some commands need, and the extra that installs them."""

import importlib

from cifarlab.system.errors import MissingExtraError


def require_packages(subject: str, extra: str, *packages: str) -> None:
    """Raise MissingExtraError where a package that ``subject`` needs is not installed."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise MissingExtraError(
                f"{subject} needs {package.partition('.')[0]}, which is not installed",
                f"pip install 'cifarlab[{extra}]'",
            ) from error
