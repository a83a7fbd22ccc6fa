r"""8-bit weights, and activations that are quantized as they come.

Each column \(c\) of a weight matrix is stored as \(\hat W_c = \mathrm{round}(W_c / s_c)\) in int8
with \(s_c = \max|W_c| / 127\); activations are quantized at run time to uint8 with one scale for
the whole tensor, and integer products are scaled back:

\[ y = s_x s_c \, (\hat x - z_x)\,\hat W_c . \]

Embeddings are stored in 8 bits too. The graph must be fused before, or attention stays in float.
One activation scale for a whole batch means that a text's answer depends on its batch-mates; the
manifest says so, and such variants are served one text per run.

Example:
    [[steps]]
    method = "quantization.dynamic"

Reference: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", section 2; Zafrir et al. 2019, "Q8BERT", for what is kept in
float (softmax, normalization, GELU).
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from paretext_compression.method import About, Context

if TYPE_CHECKING:
    import onnx

ABOUT = About(
    helps={
        "disk": "a quarter of the size",
        "memory": "a quarter of the weights",
        "cpu latency": "2 to 3.5 times as fast where the processor multiplies int8 (VNNI)",
        "gpu latency": "nothing",
    },
    graph_phase="arithmetic",
)
_OPERATORS = ("MatMul", "Gemm", "Attention", "Gather", "EmbedLayerNormalization")


@dataclass(frozen=True)
class Parameters:
    """How weights are scaled."""

    per_channel: Annotated[
        bool, Field(description="a scale for each column of a matrix, not one for all of it")
    ] = True
    reduce_range: Annotated[
        bool,
        Field(
            description="7-bit weights: for processors with AVX2 but no VNNI, where sums saturate"
        ),
    ] = False


def graph(parameters: Parameters, model: onnx.ModelProto, context: Context) -> onnx.ModelProto:
    """Quantize matrices, attention and embeddings of a fused graph."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "quantized.onnx"
        root = logging.getLogger()
        level = root.level
        root.setLevel(logging.ERROR)  # it advises a pre-processing that fusing has replaced
        try:
            quantize_dynamic(
                model,
                file,
                op_types_to_quantize=list(_OPERATORS),
                per_channel=parameters.per_channel,
                reduce_range=parameters.reduce_range,
                weight_type=QuantType.QInt8,
                # Fused operators have no inferred types; without this, attention is passed over.
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )
        finally:
            root.setLevel(level)
        return onnx.load(file)
