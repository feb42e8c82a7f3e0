"""Made data sources for the tests: class folders, archives of them, official-looking archives."""

import hashlib
import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from cifarlab.config.plugins import add_plugin

Files = dict[str, bytes]


def png(value: int = 0, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> bytes:
    """One plain image; ``value`` makes it different from others."""
    color = value % 256 if mode == "L" else (value % 256, (value * 7) % 256, (value * 31) % 256)
    return encoded(Image.new(mode, size, color))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that declares side x side pixels."""
    blob = bytearray(png())
    blob[16:24] = side.to_bytes(4, "big") * 2
    blob[29:33] = zlib.crc32(blob[12:29]).to_bytes(4, "big")
    return bytes(blob)


def class_folders(splits: dict[str, int], classes: tuple[str, ...] = ("cat", "dog")) -> Files:
    """``{"train": 3}`` gives train/cat/0.png to train/dog/2.png; a split "" has no folder."""
    files, value = {}, 0
    for split, count in splits.items():
        for name in classes:
            for i in range(count):
                value += 1
                files[f"{split}/{name}/{i}.png".lstrip("/")] = png(value)
    return files


def as_folder(path: Path, files: Files) -> Path:
    for name, content in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return path


def as_tar(path: Path, files: Files, extra: tuple[tarfile.TarInfo, ...] = ()) -> Path:
    """Compression by the ending of ``path``."""
    kind = {".gz": "gz", ".tgz": "gz", ".xz": "xz", ".bz2": "bz2"}.get(path.suffix, "")
    with tarfile.open(path, f"w:{kind}") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info)
    return path


def as_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


class Python2Pickler(pickle._Pickler):
    """Writes what Python 2 wrote at protocol 2: byte strings, and numpy under its old name."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        content = value if isinstance(value, bytes) else value.encode("latin1")
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_string

    def save_global(self, obj, name=None):
        module = obj.__module__.replace("numpy._core", "numpy.core")
        self.write(pickle.GLOBAL + f"{module}\n{name or obj.__qualname__}\n".encode())
        self.memoize(obj)

    dispatch[type] = dispatch[type(png)] = dispatch[type(len)] = save_global


def python2_pickle(content: object) -> bytes:
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(content)
    return buffer.getvalue()


def batch(n: int, seed: int, **labels: int) -> dict[str, object]:
    """A batch of n random images; each keyword gives a kind of labels and its class count."""
    data = np.random.default_rng(seed).integers(0, 256, (n, 3072), dtype=np.uint8)
    numbers = {key: [i % count for i in range(n)] for key, count in labels.items()}
    return {"batch_label": f"batch {seed}", "data": data, **numbers}


def cifar10_files(dump=python2_pickle, n: int = 20) -> Files:
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    files = {name: dump(batch(n, i, labels=10)) for i, name in enumerate(names)}
    files["batches.meta"] = dump({"label_names": [f"class{i}" for i in range(10)]})
    files["readme.html"] = b"<html></html>"
    return {f"cifar-10-batches-py/{name}": content for name, content in files.items()}


def cifar100_files(dump=python2_pickle) -> Files:
    files = {
        name: dump(batch(n, seed, fine_labels=100, coarse_labels=20))
        for seed, (name, n) in enumerate({"train": 300, "test": 100}.items())
    }
    files["meta"] = dump(
        {
            "fine_label_names": [f"fine{i}" for i in range(100)],
            "coarse_label_names": [f"coarse{i}" for i in range(20)],
        }
    )
    files["file.txt~"] = b""
    return {f"cifar-100-python/{name}": content for name, content in files.items()}


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def own_plugins() -> list[dict[str, str]]:
    """The plug-in of own_data.py, as a recipe names it; it is run."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", folder)
        plugin = add_plugin(str(Path(__file__).with_name("own_data.py")), named_by_user=True)
    return [plugin.model_dump()]
