"""Static quantization of an ONNX graph to 8-bit integers, by onnxruntime."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from cifarlab.exporting.formats import INPUT

CALIBRATION_IMAGES = 512  # training images, on which the ranges of activations are measured
_AT_ONCE = 64


def quantize_int8(content: bytes, images: np.ndarray) -> bytes:
    """Return the ONNX graph with its convolutions and matrix products in 8-bit integers.

    Weights have a scale for each channel, activations one for each layer. The first convolution
    and the last layer stay in float32, as in Zhou et al. 2016 (DoReFa-Net, arXiv:1606.06160): they
    are a small part of the time and lose most.

    Args:
        content: the bytes of the float32 graph
        images: uint8 (N, H, W, C), on which the ranges of activations are measured
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            starts = range(0, len(images), _AT_ONCE)
            self.batches = iter([{INPUT: images[s : s + _AT_ONCE]} for s in starts])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.batches, None)

    with TemporaryDirectory() as folder:
        names = ("float32", "prepared", "quantized")
        source, prepared, quantized = (Path(folder) / f"{name}.onnx" for name in names)
        source.write_bytes(content)
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        nodes = onnx.load(prepared).graph.node
        convs = [node.name for node in nodes if node.op_type == "Conv"]
        products = [node.name for node in nodes if node.op_type in ("Gemm", "MatMul")]
        quantize_static(
            str(prepared),
            str(quantized),
            Reader(),
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            nodes_to_exclude=[*convs[:1], *products[-1:]],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return quantized.read_bytes()
