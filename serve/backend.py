"""Build cifarlab-serve with setuptools, of files of which some lie outside this folder.

The repository has each file once, so a build gathers them in a temporary folder; an sdist, which
has them all, is built where it is.
"""

import shutil
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from setuptools import build_meta

HERE = Path(__file__).resolve().parent
FILES = {
    HERE: ("pyproject.toml", "MANIFEST.in", "backend.py"),
    HERE.parent: ("LICENSE", "NOTICE", "cifarlab_serve", "cifarlab/__init__.py"),  # its version
}


@contextmanager
def _whole_project() -> Iterator[None]:
    if (HERE / "PKG-INFO").exists():
        yield
        return
    with TemporaryDirectory() as folder:
        for root, names in FILES.items():
            for name in names:
                target = Path(folder, name)
                target.parent.mkdir(exist_ok=True)
                (shutil.copytree if (root / name).is_dir() else shutil.copy)(root / name, target)
        with chdir(folder):
            yield


def build_sdist(sdist_directory: str, config_settings: dict | None = None) -> str:
    """Build the sdist."""
    target = Path(sdist_directory).resolve()
    with _whole_project():
        return build_meta.build_sdist(str(target), config_settings)


def build_wheel(
    wheel_directory: str,
    config_settings: dict | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Build the wheel."""
    target = Path(wheel_directory).resolve()
    with _whole_project():
        return build_meta.build_wheel(str(target), config_settings, metadata_directory)
