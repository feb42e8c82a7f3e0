"""The exported file: its network in onnxruntime, what it says of itself, the inputs it takes."""

import hashlib
import json
import math
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cifarlab_serve.conformal import raps_scores

RESIZE_MODES = ("error", "crop", "pad", "stretch")
_CERTIFIED = "certified"  # the status of a certificate; earlier ones have none
_HINT = "name an ONNX file that 'cifarlab export' wrote, or its folder"


def count_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many cores this process may use, by its affinity and its container's quota."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        with suppress(OSError, ValueError):  # "max": as many as there are
            quota, period = map(int, " ".join((cgroup / f).read_text() for f in files).split())
            if quota > 0:
                cores = min(cores, math.ceil(quota / period))
    return cores


class ServeError(Exception):
    """Something that can't be served: ``what`` is wrong and where, ``hint`` says what to do."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what, hint)
        self.what, self.hint = what, hint


class InputPolicy(NamedTuple):
    """Size and channels of a network's inputs; as ``cifarlab.inference.inputs.input_policy``."""

    size: int
    resize_mode: str
    channels: str


class Conformal(NamedTuple):
    """What the run's validation images calibrated: conformal sets of whole percents of coverage."""

    n: int
    penalty: float
    free_ranks: int
    thresholds: list[float]  # of 1 %, 2 %, ... as far as n images can show them

    def sets(self, probabilities: np.ndarray, percent: int) -> np.ndarray:
        """Return which classes are in each image's set, bool (N, K), of probabilities (N, K)."""
        scores = raps_scores(probabilities, self.penalty, self.free_ranks)
        return scores <= self.thresholds[percent - 1]


class ExportedNetwork:
    """A network of one file, ready to run."""

    def __init__(
        self, path: Path, resize_mode: str | None = None, threads: int | None = None
    ) -> None:
        """Load a network.

        Args:
            path: the file, or the folder in which it is ``model.onnx``
            resize_mode: error, crop, pad or stretch; None: as the run's recipe says
            threads: of the network; None: one for each core

        Raises:
            ServeError: it is no file that cifarlab exported, or not the one that the certificate
                beside it is of, or there is no such ``resize_mode``
        """
        import onnxruntime

        if resize_mode not in (None, *RESIZE_MODES):
            what = f"there is no resize mode {resize_mode!r}"
            raise ServeError(what, f"take one of {', '.join(RESIZE_MODES)}")
        path = path / "model.onnx" if path.is_dir() else path
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or count_cores()
        try:
            content = path.read_bytes()
            providers = ["CPUExecutionProvider"]
            self._session = onnxruntime.InferenceSession(content, options, providers)
            facts = json.loads(self._session.get_modelmeta().custom_metadata_map["cifarlab"])
            self._read(facts, resize_mode)
        except Exception as error:  # onnxruntime has many of its own
            reason = (str(error) or type(error).__name__).splitlines()[0][:200]
            raise ServeError(f"{path} is no exported network: {reason}", _HINT) from error
        self.facts: dict[str, Any] = facts
        self.identity = {
            "name": str(facts["recipe"]["name"]),
            "fingerprint": str(facts["fingerprint"]),
            "weights_sha256": str(facts["weights_sha256"]),
            "file_sha256": hashlib.sha256(content).hexdigest(),
        }
        self.certified = _is_certified(path, self.identity["file_sha256"])

    def _read(self, facts: dict[str, Any], resize_mode: str | None) -> None:
        """Keep what is needed of the facts. Raises whatever they lack."""
        [images] = self._session.get_inputs()
        outputs = [output.name for output in self._session.get_outputs()]
        height, width, channels = self.shape = tuple(map(int, facts["image_shape"]))
        self.classes = [str(name) for name in facts["classes"]]
        if (images.name, images.type, images.shape[1:], outputs, height) != (
            *("images", "tensor(uint8)", [height, width, channels]),
            *(["probabilities", "logits"], width),
        ):
            raise ValueError(f"it takes {images} and gives {outputs}")
        mode = resize_mode or facts["recipe"]["data"]["images"]["resize_mode"]
        self.policy = InputPolicy(height, mode, "grey" if channels == 1 else "rgb")
        rule = facts.get("conformal")
        self.conformal = Conformal(*(rule[key] for key in Conformal._fields)) if rule else None
        if self.run(np.zeros((1, *self.shape), np.uint8)).shape != (1, len(self.classes)):
            raise ValueError(f"it has not {len(self.classes)} classes")

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return probabilities (N, K) of images uint8 (N, H, W, C)."""
        probabilities: np.ndarray = self._session.run(["probabilities"], {"images": images})[0]
        return probabilities


def _is_certified(path: Path, file_sha256: str) -> bool:
    """Return whether a certificate beside a file says that its run is as it was measured.

    Raises:
        ServeError: the certificate is of another file
    """
    certificate = path.with_name("certificate.json")
    if not certificate.is_file():
        return False
    try:
        content = json.loads(certificate.read_bytes())
        expected, status = content["file"]["sha256"], content.get("status", _CERTIFIED)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServeError(
            f"{certificate} can't be read: {error!r}", "export the run anew"
        ) from error
    if expected != file_sha256:
        what = f"{path} is not the file that {certificate.name} beside it was written for"
        raise ServeError(what, "export the run anew, or take the file elsewhere, uncertified")
    return bool(status == _CERTIFIED)
