"""The two formats of an exported network: ONNX, and torch.export's archive.

Both keep one JSON object under the name ``cifarlab``: what the network is, for whoever loads it.
"""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch.export import ExportedProgram

from cifarlab.exporting.graph import ANY_NUMBER_OF_IMAGES
from cifarlab.system.errors import ExportError
from cifarlab.system.files import parse_json, reason

INPUT, OUTPUTS = "images", ("probabilities", "logits")
_KEY = "cifarlab"
_OPSET = 20  # of ONNX 1.15; torch writes IR version 10 with it: onnxruntime 1.18


class Outputs(NamedTuple):
    """What a network says of N images, both float32 (N, K)."""

    probabilities: np.ndarray
    logits: np.ndarray


Network = Callable[[np.ndarray], Outputs]  # of images uint8 (N, H, W, C)


class ExportFormat(Protocol):
    """How a program is written to bytes, and read."""

    suffix: str
    name: str  # with its version, as the certificate has it
    packages: tuple[str, ...]  # that write and run it, beside torch

    def write(self, program: ExportedProgram) -> bytes:
        """Return the bytes of a program."""

    def add_facts(self, content: bytes, facts: dict[str, Any]) -> bytes:
        """Return the bytes with facts in them."""

    def read_facts(self, content: bytes) -> dict[str, Any]:
        """Return the facts in the bytes; empty where there are none."""

    def load(self, content: bytes) -> Network:
        """Return the network, ready to run."""


class OnnxFormat:
    """ONNX, for onnxruntime and many others."""

    suffix, name = ".onnx", f"ONNX, opset {_OPSET}"
    packages: tuple[str, ...] = ("onnx", "onnxscript", "onnxruntime")

    def write(self, program: ExportedProgram) -> bytes:
        """Return the bytes of a program."""
        onnx_program = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=_OPSET,
            input_names=[INPUT],
            output_names=OUTPUTS,
            dynamic_shapes=ANY_NUMBER_OF_IMAGES,
            verbose=False,
        )
        content: bytes = onnx_program.model_proto.SerializeToString()  # type: ignore[union-attr]
        return content

    def add_facts(self, content: bytes, facts: dict[str, Any]) -> bytes:
        """Return the bytes with facts in them."""
        import onnx

        model = onnx.load_from_string(content)
        onnx.helper.set_model_props(model, {_KEY: json.dumps(facts)})
        stamped: bytes = model.SerializeToString()
        return stamped

    def read_facts(self, content: bytes) -> dict[str, Any]:
        """Return the facts in the bytes; empty where there are none."""
        metadata = _session(content).get_modelmeta().custom_metadata_map
        return _as_object(metadata.get(_KEY, ""))

    def load(self, content: bytes) -> Network:
        """Return the network, ready to run."""
        session = _session(content)
        return lambda images: Outputs(*session.run(list(OUTPUTS), {INPUT: images}))


class TorchFormat:
    """torch.export's archive, for PyTorch without the code of the network."""

    suffix, name = ".pt2", "torch.export"
    packages: tuple[str, ...] = ()

    def write(self, program: ExportedProgram, facts: dict[str, Any] | None = None) -> bytes:
        """Return the bytes of a program."""
        file = io.BytesIO()
        torch.export.save(program, file, extra_files={_KEY: json.dumps(facts or {})})
        return file.getvalue()

    def add_facts(self, content: bytes, facts: dict[str, Any]) -> bytes:
        """Return the bytes with facts in them."""
        return self.write(torch.export.load(io.BytesIO(content)), facts)

    def read_facts(self, content: bytes) -> dict[str, Any]:
        """Return the facts in the bytes; empty where there are none."""
        files = {_KEY: ""}
        torch.export.load(io.BytesIO(content), extra_files=files)
        return _as_object(files[_KEY])

    def load(self, content: bytes) -> Network:
        """Return the network, ready to run."""
        module = torch.export.load(io.BytesIO(content)).module()

        def run(images: np.ndarray) -> Outputs:
            with torch.inference_mode():
                return Outputs(*(output.numpy() for output in module(torch.from_numpy(images))))

        return run


FORMATS: dict[str, ExportFormat] = {"onnx": OnnxFormat(), "torch": TorchFormat()}


def _session(content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])


def _as_object(text: str) -> dict[str, Any]:
    facts = parse_json(text) if text else {}
    return facts if isinstance(facts, dict) else {}


@contextmanager
def export_errors(what: str, hint: str) -> Iterator[None]:
    """Turn whatever the exporters raise in the block into one error, and silence their warnings.

    Raises:
        ExportError: they raised something
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        except Exception as error:
            raise ExportError(f"{what}: {reason(error)}", hint) from error
        finally:
            logging.disable(logging.NOTSET)
