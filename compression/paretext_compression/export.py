"""From a torch network to a fused ONNX graph, and the proof that both answer alike."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from paretext_compression.architecture import TRANSFORMERS, encoder_layers
from paretext_compression.batches import Examples
from paretext_compression.network import Network
from paretext_compression.teacher import quiet
from paretext_models.errors import ParetextError
from paretext_models.manifest import Parity
from paretext_models.runner import SingleRunner
from paretext_models.tokenizer import Encoded

if TYPE_CHECKING:
    import onnx

OPSET = 17
# Of the logits' spread. Fused operators sum in another order; a wrong mask is off by far more.
PARITY_LIMIT = 1e-4
_COLLAPSED = 1e-3


def export(network: Network) -> onnx.ModelProto:
    """The network as an ONNX graph with the variant's inputs and one output, `logits`."""
    import onnx

    network = network.copy()  # exporting changes a model's configuration
    with tempfile.TemporaryDirectory() as folder, quiet():
        file = Path(folder) / "model.onnx"
        network.module.cpu().eval()
        if network.architecture in TRANSFORMERS:
            _export_transformer(network, file)
        else:
            _export_module(network, file)
        return onnx.load(file)


def fuse(model: onnx.ModelProto, network: Network) -> onnx.ModelProto:
    """Fuse attention, normalizations and GELU into ONNX Runtime's own operators.

    Heads are counted layer by layer, so layers that were pruned unevenly fuse as well. A network
    that is not a transformer is returned as it is.
    """
    if network.architecture not in TRANSFORMERS:
        return model
    import onnx
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    with tempfile.TemporaryDirectory() as folder, quiet():
        file = Path(folder) / "model.onnx"
        onnx.save(model, file)
        # Zero heads: read from each attention's own shapes. Level 0: our graph, on any machine.
        fused = optimize_model(
            str(file),
            model_type="bert",
            num_heads=0,
            hidden_size=0,
            opt_level=0,
            optimization_options=FusionOptions("bert"),
        )
        fused.topological_sort()
        return _with_fused_operators(fused.model)


def operators(model: onnx.ModelProto) -> dict[str, int]:
    """How often each operator stands in the graph."""
    return dict(sorted(Counter(node.op_type for node in model.graph.node).items()))


def missing_fusions(model: onnx.ModelProto, network: Network) -> list[str]:
    """What should have been fused and was not, such as `Attention: 5 of 6`."""
    if network.architecture not in TRANSFORMERS:
        return []
    layers = len(encoder_layers(network.transformer))
    counts = operators(model)
    expected = {"Attention": layers, "SkipLayerNormalization": 2 * layers, "BiasGelu": layers}
    return [
        f"{name}: {counts.get(name, 0)} of {number}"
        for name, number in expected.items()
        if counts.get(name, 0) != number
    ]


def parity(network: Network, model: onnx.ModelProto, examples: Examples, longest: int) -> Parity:
    """Compare the graph with the network: unpadded and padded, shortest and longest inputs.

    Args:
        examples: rows to compare on.
        longest: the most tokens of one input; one row is repeated up to it.

    Raises:
        ParetextError: the difference is above 1e-4 of the logits' spread over the inputs, or
            there is no spread.
    """
    rows = _probe_rows(examples, longest)
    batches = [[row] for row in rows] + [rows]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        _save(model, file)
        runner = SingleRunner(file, network.inputs, examples.pad_id)
        ours = np.concatenate([runner.logits(batch) for batch in batches])
    theirs = np.concatenate([_torch_logits(network, batch, examples.pad_id) for batch in batches])
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        difference = float(np.abs(ours - theirs).max())
        spread = float(np.ptp(theirs, axis=0).max())
    if spread < _COLLAPSED:
        raise ParetextError(
            f"parity: the network answers alike whatever the text (logit spread {spread:.1e});"
            " its training has collapsed, and a lower learning rate may help"
        )
    if not difference <= PARITY_LIMIT * spread:  # NaN is not, either
        raise ParetextError(
            f"parity: the ONNX graph differs from the torch network by {difference:.2e} at a logit"
            f" spread of {spread:.2e}; the variant is not published"
        )
    return Parity(max_abs_difference=difference, logit_spread=spread, inputs=len(rows))


def _probe_rows(examples: Examples, longest: int) -> list[Encoded]:
    order = sorted(examples.encoded, key=len)
    spread = [order[i] for i in np.linspace(0, len(order) - 1, min(14, len(order))).astype(int)]
    last = order[-1]
    inner, inner_types = last.ids[1:-1] or last.ids, last.type_ids[1:-1] or last.type_ids
    times = longest // len(inner) + 1
    ids = [last.ids[0], *(inner * times)[: longest - 2], last.ids[-1]]
    types = [last.type_ids[0], *(inner_types * times)[: longest - 2], last.type_ids[-1]]
    return [*spread, Encoded(ids, types, False)]


@torch.inference_mode()
def _torch_logits(network: Network, batch: Sequence[Encoded], pad_id: int) -> np.ndarray:
    examples = Examples(tuple(batch), np.zeros(len(batch), np.int64), pad_id)
    network.module.cpu().eval()
    return network.logits(examples.batch(range(len(batch)), torch.device("cpu"))).numpy()


def _export_transformer(network: Network, file: Path) -> None:
    from optimum.exporters.onnx import export as optimum_export
    from optimum.exporters.tasks import TasksManager

    constructor = TasksManager.get_exporter_config_constructor(
        "onnx", network.transformer, task="text-classification", library_name="transformers"
    )
    optimum_export(network.transformer, constructor(network.transformer.config), file, opset=OPSET)


def _export_module(network: Network, file: Path) -> None:
    ids = torch.ones(2, 9, dtype=torch.long)
    axes = {0: "batch_size", 1: "sequence_length"}
    torch.onnx.export(
        network.module,
        tuple(ids for _ in network.inputs),
        str(file),
        input_names=list(network.inputs),
        output_names=["logits"],
        dynamic_axes={**dict.fromkeys(network.inputs, axes), "logits": {0: "batch_size"}},
        opset_version=OPSET,
        dynamo=False,
    )


def _with_fused_operators(model: onnx.ModelProto) -> onnx.ModelProto:
    """Declare the domain of ONNX Runtime's operators: the optimizer forgets to."""
    if all(entry.domain != "com.microsoft" for entry in model.opset_import):
        opset = model.opset_import.add()
        opset.domain, opset.version = "com.microsoft", 1
    return model


def _save(model: onnx.ModelProto, file: Path) -> None:
    import onnx

    onnx.save(model, file)
