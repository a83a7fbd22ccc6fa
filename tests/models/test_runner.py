from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from paretext_models.errors import StoreError
from paretext_models.manifest import SinglePlan
from paretext_models.runner import SingleRunner, available_devices, open_runner
from paretext_models.store import Store, StoredVariant, hash_files
from paretext_models.tokenizer import Encoded
from tiny_store import publish_tiny, tiny_manifest, write_graph, write_tokenizer

INPUTS = ("input_ids", "attention_mask")


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    write_graph(tmp_path / "model.onnx", 3)
    return tmp_path / "model.onnx"


def texts(count: int, seed: int = 0) -> list[Encoded]:
    rng = np.random.default_rng(seed)
    rows = [rng.integers(1, 200, rng.integers(1, 40)).tolist() for _ in range(count)]
    return [Encoded(ids, [0] * len(ids), truncated=False) for ids in rows]


def test_logits_equal_numpy(graph: Path) -> None:
    weights = {
        each.name: onnx.numpy_helper.to_array(each)
        for each in onnx.load(str(graph)).graph.initializer
    }
    (text,) = texts(1)
    expected = weights["embeddings"][text.ids].mean(axis=0) @ weights["weight"]
    logits = SingleRunner(graph, INPUTS).logits([text])
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, [expected], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pad_id", [0, 1])
def test_a_padded_batch_equals_single_runs(graph: Path, pad_id: int) -> None:
    runner = SingleRunner(graph, INPUTS, pad_id)
    batch = texts(9)
    alone = np.concatenate([runner.logits([text]) for text in batch])
    assert alone.shape == (9, 3)
    np.testing.assert_allclose(runner.logits(batch), alone, rtol=1e-5, atol=1e-6)


def test_token_types_and_padding_reach_the_graph(tmp_path: Path) -> None:
    names = ("input_ids", "attention_mask", "token_type_ids")
    nodes = [
        helper.make_node("Concat", list(names), ["all"], axis=1),
        helper.make_node("Cast", ["all"], ["logits"], to=TensorProto.FLOAT),
    ]
    save(tmp_path / "echo.onnx", nodes, names)
    runner = SingleRunner(tmp_path / "echo.onnx", names, pad_id=9)
    batch = [Encoded([5, 6], [0, 1], False), Encoded([7], [1], False)]
    assert runner.logits(batch).tolist() == [[5, 6, 1, 1, 0, 1], [7, 9, 1, 0, 1, 0]]
    assert runner.logits(batch[:1]).tolist() == [[5, 6, 1, 1, 0, 1]]


def save(file: Path, nodes: list[onnx.NodeProto], inputs: tuple[str, ...], out: str = "logits",
         weights: list[TensorProto] | None = None) -> None:  # fmt: skip
    shape = ["batch", "tokens"]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in inputs],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, ["batch", "width"])],
        weights or [],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    file.write_bytes(model.SerializeToString())


def test_threads_share_one_session(graph: Path) -> None:
    runner = SingleRunner(graph, INPUTS)
    batch = texts(200)
    alone = [runner.logits([text]) for text in batch]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda text: runner.logits([text]), batch))
    np.testing.assert_array_equal(np.concatenate(together), np.concatenate(alone))


@pytest.mark.parametrize("threads", [1, 2])
def test_open_runner_follows_the_manifest(tmp_path: Path, threads: int) -> None:
    publish_tiny(tmp_path)
    stored = Store(tmp_path).load("tiny", "fp32")
    runner = open_runner(stored.folder, stored.manifest, threads=threads)
    assert runner.logits(texts(2)).shape == (2, 3)


@pytest.mark.parametrize("device", ["tpu", "", "CPU", "cpu:1", "cuda:", "cuda:x", "cuda:-1"])
def test_an_unknown_device_is_refused(graph: Path, device: str) -> None:
    with pytest.raises(StoreError, match=f"device '{device}': expected cpu or cuda:N"):
        SingleRunner(graph, INPUTS, device=device)


@pytest.mark.skipif("cuda:0" in available_devices(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused(graph: Path) -> None:
    with pytest.raises(StoreError, match="device 'cuda:0' is not available"):
        SingleRunner(graph, INPUTS, device="cuda:0")


@pytest.mark.parametrize("keep", [0, 10, 200, -100])
def test_a_truncated_graph_with_a_fitting_manifest_is_refused_by_name(
    tmp_path: Path, keep: int
) -> None:
    store = Store(tmp_path)
    with store.staging("tiny") as folder:
        write_tokenizer(folder / "tokenizer.json")
        write_graph(folder / "model.onnx", 3)
        whole = (folder / "model.onnx").read_bytes()
        (folder / "model.onnx").write_bytes(whole[:keep])
        store.publish(folder, tiny_manifest(folder, "tiny", "fp32"))
    stored = store.load("tiny", "fp32")
    with pytest.raises(StoreError, match=r"^tiny/fp32: model\.onnx: ONNX Runtime cannot load it"):
        open_runner(stored.folder, stored.manifest)


@pytest.mark.parametrize(
    "inputs", [("input_ids",), (*INPUTS, "token_type_ids"), ("input_ids", "position_ids")]
)
def test_other_inputs_than_the_plans_are_refused(graph: Path, inputs: tuple[str, ...]) -> None:
    with pytest.raises(StoreError, match=r"^model\.onnx: the graph has the inputs"):
        SingleRunner(graph, inputs)


def test_unknown_inputs_and_missing_logits_are_refused(tmp_path: Path) -> None:
    cast = [helper.make_node("Cast", ["position_ids"], ["logits"], to=TensorProto.FLOAT)]
    save(tmp_path / "a.onnx", cast, ("position_ids",))
    with pytest.raises(StoreError, match=r"of .*attention_mask.*input_ids.*token_type_ids"):
        SingleRunner(tmp_path / "a.onnx", ("position_ids",))
    cast = [helper.make_node("Cast", ["input_ids"], ["scores"], to=TensorProto.FLOAT)]
    save(tmp_path / "b.onnx", cast, ("input_ids",), out="scores")
    with pytest.raises(StoreError, match=r"outputs \['scores'\], expected logits"):
        SingleRunner(tmp_path / "b.onnx", ("input_ids",))


def external(folder: Path, location: str) -> Path:
    """A graph whose weight is a file that `location` names."""
    weight = TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[1])
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "4")):
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "weight"], ["logits"]),
    ]
    save(folder / "model.onnx", nodes, ("input_ids",), weights=[weight])
    return folder / "model.onnx"


@pytest.mark.parametrize("kind", ["absolute", "parent", "detour", "link", "missing"])
def test_external_data_outside_the_folder_is_refused(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "variant"
    folder.mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.float32(1).tobytes())
    (folder / "link.bin").symlink_to(secret)
    location = {
        "absolute": str(secret), "parent": "../secret.bin", "detour": "x/../../secret.bin",
        "link": "link.bin", "missing": "none.bin",
    }[kind]  # fmt: skip
    with pytest.raises(StoreError, match=r"^model\.onnx: ONNX Runtime cannot load it"):
        SingleRunner(external(folder, location), ("input_ids",))


def publish_external(root: Path, *, listed: bool) -> StoredVariant:
    """A variant whose graph keeps its weight in a file beside it, which the manifest may list."""
    publish_tiny(root)
    stored = Store(root).load("tiny", "fp32")
    with Store(root).staging("tiny") as folder:
        (folder / "tokenizer.json").write_bytes((stored.folder / "tokenizer.json").read_bytes())
        external(folder, "weights.bin")
        (folder / "weights.bin").write_bytes(np.float32(2).tobytes())
        files = hash_files(folder)
        if not listed:
            del files["weights.bin"]
        manifest = stored.manifest.model_copy(
            update={"files": files, "plan": SinglePlan(inputs=("input_ids",))}
        )
        Store(root).publish(folder, manifest)
    return Store(root).load("tiny", "fp32")


def test_external_data_inside_the_folder_must_be_in_the_manifest(tmp_path: Path) -> None:
    stored = publish_external(tmp_path, listed=True)
    runner = open_runner(stored.folder, stored.manifest)
    assert runner.logits([Encoded([3], [0], False)]).tolist() == [[6.0]]
    with pytest.raises(StoreError, match=r"weights\.bin is not a file of its manifest"):
        publish_external(tmp_path, listed=False)
