"""Build variants: recipes and a teacher in, published variants out. Resumable at every step."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from paretext_compression.batches import Examples, encode
from paretext_compression.card import model_card
from paretext_compression.data import LabelledData, load
from paretext_compression.evaluate import predict
from paretext_compression.export import missing_fusions, operators, parity
from paretext_compression.fit import pick_device
from paretext_compression.measure import measure, served_logits
from paretext_compression.method import Context, TrainingData
from paretext_compression.network import Network
from paretext_compression.phases import arithmetic_and_storage, exported, network_steps
from paretext_compression.progress import Event, Report
from paretext_compression.teacher import Teacher, load_teacher
from paretext_models import host
from paretext_models.errors import InputError, StoreError
from paretext_models.manifest import Lineage, Manifest, Measured, Parity, SinglePlan, Task
from paretext_models.probes import PROBES, write_probes
from paretext_models.recipe import Recipe, validate
from paretext_models.runner import SingleRunner
from paretext_models.scores import Floats
from paretext_models.store import Store, hash_files
from paretext_models.tokenizer import TextTokenizer

if TYPE_CHECKING:
    import onnx

_LIBRARIES = ("torch", "transformers", "optimum", "onnx", "onnxruntime", "tokenizers", "numpy")


@dataclass(frozen=True)
class BuildOptions:
    """What to build, from what, and where to.

    Attributes:
        name: of the model in the store.
        work: a folder for finished steps; a build that is started again takes them from there.
        problem: overrides what the data look like, such as whole numbers that are a regression.
    """

    model: str
    data: str
    store: Path
    name: str
    recipes: tuple[Recipe, ...]
    work: Path
    seed: int = 42
    device: str | None = None
    force: bool = False


@dataclass(frozen=True)
class Built:
    """A variant in the store, and whether this build made it."""

    manifest: Manifest
    revision: str
    reused: bool


def build(options: BuildOptions, report: Report) -> list[Built]:
    """Build and publish every recipe's variant, in order.

    A variant that the store already has from the same inputs is kept. Each is published as soon as
    it is done, so that an interruption loses at most the step it falls in.

    Raises:
        InputError: data, model or a recipe is wrong; nothing has been built then.
        ParetextError: a variant failed its parity gate; those before it are published.
    """
    workshop = Workshop(options, report)
    workshop.check_recipes()
    store = Store(options.store)
    store.sweep(options.name)
    built = []
    for place, recipe in enumerate(options.recipes):
        report(
            Event(
                recipe.name,
                place / len(options.recipes),
                message=f"variant {place + 1} of {len(options.recipes)}: {recipe.name}",
            )
        )
        found = None if options.force else workshop.already_built(store, recipe)
        built.append(found or workshop.build(store, recipe))
    return built


class Workshop:
    """One teacher with its data, encoded once, from which variants are built."""

    def __init__(self, options: BuildOptions, report: Report) -> None:
        torch.set_num_threads(host.cores())
        self.options, self.report = options, report
        self.teacher = load_teacher(options.model)
        self.data, self.elsewhere = _load_data(options, self.teacher)
        for note in self.data.notes:
            report(Event("data", message=note))
        self.task = self.data.task
        self.device = pick_device(options.device)
        options.work.mkdir(parents=True, exist_ok=True)
        self._last_export: Any = (None, None, None)

    def check_recipes(self) -> None:
        """Raises: FaultsError: if a recipe does not fit the teacher's architecture."""
        for recipe in self.options.recipes:
            validate(
                recipe.to_dict(),
                architecture=self.teacher.network.architecture,
                where=f"recipe {recipe.name}",
            )
        names = [recipe.name for recipe in self.options.recipes]
        if len(set(names)) < len(names):
            raise InputError(f"recipes: got {', '.join(names)}, expected each name once")

    def already_built(self, store: Store, recipe: Recipe) -> Built | None:
        """The store's variant of this recipe, if the same inputs made it."""
        try:
            stored = store.load(self.options.name, recipe.name)
        except StoreError:
            return None
        lineage, wanted = stored.manifest.lineage, self._lineage(recipe)
        if lineage.model_dump(exclude={"versions"}) != wanted.model_dump(exclude={"versions"}):
            return None
        self.report(Event(recipe.name, 1.0, message=f"{recipe.name}: already built"))
        return Built(stored.manifest, stored.revision, reused=True)

    def build(self, store: Store, recipe: Recipe) -> Built:
        """Build one variant and publish it."""
        network = network_steps(
            recipe,
            self.teacher.network,
            self._training,
            self._context,
            self.options.work,
            self._key,
        )
        graph, checked = self._export(recipe, network)
        final = arithmetic_and_storage(recipe, graph, self._context)
        with store.staging(self.options.name) as folder:
            self._write(folder, final)
            runner = SingleRunner(
                folder / "model.onnx", network.inputs, self.teacher.tokenizer.pad_id
            )
            logits = served_logits(
                runner, self._report_rows, self.report, f"{recipe.name}: measure"
            )
            measured = measure(
                logits,
                self._teacher_logits,
                self.data.report.targets,
                self.task,
                self.data.report_split,
                network=network,
                runner=runner,
                files=[folder / "model.onnx"],
                parity=checked,
                operators=operators(final),
                max_tokens=self._longest,
            )
            integer = any("Integer" in name or name.startswith("Q") for name in measured.operators)
            write_probes(folder / PROBES, runner, self.teacher.tokenizer, integer=integer)
            manifest = self._manifest(recipe, network, measured, folder)
            revision = store.publish(
                folder, manifest, teacher=self.teacher.name, first_is_default=False
            )
        return Built(manifest, revision, reused=False)

    def _export(self, recipe: Recipe, network: Network) -> tuple[onnx.ModelProto, Parity]:
        """The fused graph and its parity; the last one is kept, for `int8` follows `fp32`."""
        if network is not self._last_export[0]:
            self.report(Event(f"{recipe.name}: export", 0.0))
            graph = exported(network)
            checked = parity(network, graph, self._training.train, self._longest)
            for missing in missing_fusions(graph, network):
                self.report(Event(recipe.name, message=f"{recipe.name}: not fused: {missing}"))
            self._last_export = network, graph, checked
        _, graph, checked = self._last_export
        self.report(Event(recipe.name, gate=f"parity {checked.max_abs_difference:.1e}: passed"))
        return graph, checked

    def _write(self, folder: Path, graph: onnx.ModelProto) -> None:
        import onnx

        onnx.save(graph, folder / "model.onnx")
        (folder / "tokenizer.json").write_text(self.teacher.tokenizer_json, encoding="utf-8")
        # As `save_pretrained` writes it: the full dictionary names the teacher's folder.
        config = self.teacher.network.transformer.config.to_json_string()
        (folder / "config.json").write_text(config)

    def _manifest(
        self, recipe: Recipe, network: Network, measured: Measured, folder: Path
    ) -> Manifest:
        draft = Manifest(
            model=self.options.name,
            variant=recipe.name,
            description=recipe.description,
            architecture=network.architecture,
            task=self.task,
            tokenizer=self.teacher.tokenizer,
            plan=SinglePlan(inputs=network.inputs),
            lineage=self._lineage(recipe),
            measured=measured,
            files=hash_files(folder),
        )
        (folder / "README.md").write_text(model_card(draft), encoding="utf-8")
        return draft.model_copy(update={"files": hash_files(folder)})

    def _lineage(self, recipe: Recipe) -> Lineage:
        return Lineage(
            parent=self.teacher.name,
            parent_sha256=self.teacher.sha256,
            recipe=recipe.to_dict(),
            data=self.data.parts(),
            teacher_trained_elsewhere=self.elsewhere,
            seed=self.options.seed,
            versions={name: metadata.version(name) for name in ("paretext", *_LIBRARIES)},
        )

    @property
    def _longest(self) -> int:
        return self.teacher.tokenizer.max_tokens

    @cached_property
    def _context(self) -> Context:
        return Context(
            task=self.task,
            teacher=self.teacher.network,
            tokenizer=self.teacher.tokenizer,
            special_ids=self.teacher.special_ids,
            mask_id=self.teacher.mask_id,
            device=self.device,
            seed=self.options.seed,
            report=self.report,
        )

    @cached_property
    def _key(self) -> str:
        """What every network step depends on, its own parameters and its predecessors apart."""
        inputs = {
            "teacher": self.teacher.sha256,
            "data": {name: part.sha256 for name, part in self.data.parts().items()},
            "tokenizer": hashlib.sha256(self.teacher.tokenizer_json.encode()).hexdigest(),
            "max_tokens": self.teacher.tokenizer.max_tokens,
            "seed": self.options.seed,
            "device": self.device.type,
        }
        return json.dumps(inputs, sort_keys=True)

    @cached_property
    def _tokenizer(self) -> TextTokenizer:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "tokenizer.json"
            file.write_text(self.teacher.tokenizer_json, encoding="utf-8")
            return TextTokenizer(file, self.teacher.tokenizer.max_tokens)

    @cached_property
    def _training(self) -> TrainingData:
        pad = self.teacher.tokenizer.pad_id
        return TrainingData(
            encode(self.data.train, self._tokenizer, pad),
            encode(self.data.tune, self._tokenizer, pad),
        )

    @cached_property
    def _report_rows(self) -> Examples:
        return encode(self.data.report, self._tokenizer, self.teacher.tokenizer.pad_id)

    @cached_property
    def _teacher_logits(self) -> Floats:
        """The torch teacher's answers on the reporting rows, kept between builds."""
        digest = hashlib.sha256((self._key + "report").encode()).hexdigest()[:16]
        file = self.options.work / f"teacher-{digest}.npy"
        if file.is_file():
            logits: Floats = np.load(file, allow_pickle=False)
            return logits
        self.report(Event("teacher: measure", 0.0))
        logits = predict(self.teacher.network, self._report_rows, self.device)
        aside = file.with_suffix(".new.npy")
        np.save(aside, logits, allow_pickle=False)
        aside.replace(file)
        return logits


def choose_default(
    manifests: Sequence[Manifest], cost: dict[str, float], within: float = 0.01
) -> str:
    """The cheapest variant within one point of the teacher whose paired test shows no loss.

    Where none is, the one with the highest primary metric.

    Args:
        cost: of each variant by name, such as its measured p50.
    """
    fit = [
        manifest
        for manifest in manifests
        if manifest.measured.paired is not None
        and manifest.measured.paired.difference >= -within
        and not manifest.measured.paired.shows_loss
    ]
    if fit:
        return min(fit, key=lambda manifest: cost[manifest.variant]).variant
    return max(manifests, key=lambda manifest: manifest.measured.primary.value).variant


def _load_data(options: BuildOptions, teacher: Teacher) -> tuple[LabelledData, bool]:
    """The data cut as for the teacher's training, or, where that is not known, as for a teacher
    trained elsewhere."""
    record = teacher.record
    task = Task.model_validate(record["task"]) if record else None
    problem = task.problem if task else teacher.problem
    labels = None if problem == "regression" else teacher.labels
    elsewhere = record is None
    data = load(options.data, problem=problem, labels=labels, trained_elsewhere=elsewhere)
    if record is not None:
        parts = {name: part.model_dump() for name, part in data.parts().items()}
        if parts != record["data"]:
            elsewhere = True
            data = load(options.data, problem=problem, labels=labels, trained_elsewhere=True)
    if len(data.task.labels) != len(teacher.labels):
        raise InputError(
            f"model: {options.model} has {len(teacher.labels)} labels, the data {options.data} has"
            f" {len(data.task.labels)}; expected the same"
        )
    return data, elsewhere
