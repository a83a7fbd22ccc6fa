"""What is served: the variants of a store, loaded, and kept in step with the store.

Readers take `catalogue.models` once and work on it: it is immutable and replaced as a whole. A
request in flight keeps what it was routed to, whatever is published or removed meanwhile.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from paretext_models.errors import InputError, ParetextError, StoreError
from paretext_models.manifest import Manifest
from paretext_models.profile import HostProfile, cached_profile
from paretext_models.runner import Runner, available_devices, open_runner
from paretext_models.store import POINTER, Refusal, Store, StoredVariant
from paretext_models.tokenizer import TextTokenizer
from paretext_service.router import Candidate
from paretext_service.settings import Settings

logger = logging.getLogger("paretext.catalogue")

# The length at which variants are ranked by speed.
RANKING_TOKENS = 64
_PROBE = "a"


@dataclass(frozen=True)
class Served:
    """A variant that answers requests."""

    stored: StoredVariant
    tokenizer: TextTokenizer
    runner: Runner
    device: str
    profile: HostProfile | None
    candidate: Candidate

    @property
    def variant(self) -> str:
        return self.stored.manifest.variant

    @property
    def revision(self) -> str:
        return self.stored.revision

    @property
    def manifest(self) -> Manifest:
        return self.stored.manifest


@dataclass(frozen=True)
class ServedModel:
    """The usable variants of a model, and those that were refused."""

    name: str
    generation: int
    default: str | None
    variants: Mapping[str, Served]
    refused: tuple[Refusal, ...] = ()

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        return tuple(served.candidate for served in self.variants.values())

    @property
    def pair(self) -> bool:
        return any(served.manifest.task.pair for served in self.variants.values())


class Catalogue:
    """Loads the variants of a store, and again what has changed.

    Args:
        settings: which store, models, variants and device.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = Store(settings.store)
        # model -> modification time and inode of its pointer: one of them changes with each write
        self._seen: dict[str, tuple[int, int]] = {}
        self._tokenizers: dict[tuple[str, int], TextTokenizer] = {}
        self._tokenizers_lock = threading.Lock()
        self.models: Mapping[str, ServedModel] = MappingProxyType({})
        self.loaded = False  # whether the store has been read once

    @property
    def usable(self) -> bool:
        """Whether anything can be answered."""
        return any(model.variants for model in self.models.values())

    def reload(self) -> bool:
        """Read what has changed in the store since the last call; blocks while it loads.

        Returns: whether anything changed. Only one thread may call it at a time.
        """
        stamps = self._stamps()
        models = dict(self.models)
        changed = [name for name in stamps if self._seen.get(name) != stamps[name]]
        for name in [name for name in models if name not in stamps]:
            logger.warning("model %s is gone from the store", name)
            del models[name]
        for name in changed:
            models[name] = self._load_model(name, models.get(name))
        profiled = self._find_profiles(models)
        self._seen = stamps
        different = bool(changed) or profiled or models.keys() != self.models.keys()
        if different:
            self.models = MappingProxyType(models)
            self._forget_tokenizers()
        self.loaded = True
        return different

    def _stamps(self) -> dict[str, tuple[int, int]]:
        wanted = self._settings.models
        stamps = {}
        for name in self._store.models():
            if not wanted or name in wanted:
                try:
                    status = (self._settings.store / name / POINTER).stat()
                    stamps[name] = status.st_mtime_ns, status.st_ino
                except FileNotFoundError:  # removed since it was listed
                    continue
        return stamps

    def _load_model(self, name: str, old: ServedModel | None) -> ServedModel:
        try:
            pointer = self._store.pointer(name)
        except ParetextError as error:  # what was loaded before goes on being served
            logger.error("model %s: %s", name, error)
            empty = ServedModel(name, 0, None, MappingProxyType({}))
            return replace(old or empty, refused=(Refusal(name, "", str(error)),))
        wanted = self._settings.variants
        revisions = {
            variant: revision
            for variant, revision in sorted(pointer.variants.items())
            if not wanted or variant in wanted
        }
        before = dict(old.variants) if old else {}
        # Hashing, parsing and optimizing a graph all release the interpreter lock.
        with ThreadPoolExecutor(max(1, self._settings.workers)) as pool:
            outcomes = pool.map(
                lambda variant: self._load_variant(
                    name, variant, revisions[variant], before.get(variant)
                ),
                revisions,
            )
            loaded = dict(zip(revisions, outcomes, strict=True))
        refused = tuple(one for one in loaded.values() if isinstance(one, Refusal))
        variants = {key: one for key, one in loaded.items() if isinstance(one, Served)}
        for refusal in refused:
            logger.error("refused %s", refusal.reason)
            if refusal.variant in before:  # the last good revision goes on
                variants[refusal.variant] = before[refusal.variant]
        if not variants:
            logger.error("model %s has no usable variant", name)
        return ServedModel(
            name, pointer.generation, pointer.default, MappingProxyType(variants), refused
        )

    def _load_variant(
        self, model: str, variant: str, revision: str, before: Served | None
    ) -> Served | Refusal:
        if before is not None and before.revision == revision:
            return before
        try:
            stored = self._store.load(model, variant, revision)
            served = self._open(stored)
        except (ParetextError, OSError) as error:
            return Refusal(model, variant, str(error))
        logger.info("loaded %s/%s@%s on %s", model, variant, revision, served.device)
        return served

    def _open(self, stored: StoredVariant) -> Served:
        device = self._settings.device
        tokenizer = self._tokenizer(stored)
        runner = open_runner(stored.folder, stored.manifest, device=device)
        _probe(stored, tokenizer, runner)
        profile = cached_profile(stored, self._settings.cache, device=device)
        return Served(
            stored, tokenizer, runner, device, profile, _candidate(stored, device, profile)
        )

    def _tokenizer(self, stored: StoredVariant) -> TextTokenizer:
        """One for all variants that tokenize alike: each holds a vocabulary in memory."""
        spec = stored.manifest.tokenizer
        key = stored.manifest.files[spec.file], spec.max_tokens
        with self._tokenizers_lock:
            if key not in self._tokenizers:
                self._tokenizers[key] = TextTokenizer(stored.folder / spec.file, spec.max_tokens)
            return self._tokenizers[key]

    def _forget_tokenizers(self) -> None:
        used = {
            id(served.tokenizer)
            for model in self.models.values()
            for served in model.variants.values()
        }
        self._tokenizers = {key: one for key, one in self._tokenizers.items() if id(one) in used}

    def _find_profiles(self, models: dict[str, ServedModel]) -> bool:
        """Take up profiles that were measured after the variant was loaded."""
        found = False
        for name, model in models.items():
            variants = dict(model.variants)
            for key, served in variants.items():
                if served.profile is None:
                    profile = cached_profile(
                        served.stored, self._settings.cache, device=served.device
                    )
                    if profile is not None:
                        candidate = _candidate(served.stored, served.device, profile)
                        variants[key] = replace(served, profile=profile, candidate=candidate)
                        found = True
            models[name] = replace(model, variants=MappingProxyType(variants))
        return found


def check_store(settings: Settings) -> None:
    """Refuse settings that nothing could be served with.

    Raises:
        InputError: the store is not a folder, or does not have a model that was named, or the
            device is not there.
    """
    if settings.device not in available_devices():
        raise InputError(
            f"there is no device {settings.device!r}; there are: {', '.join(available_devices())}"
        )
    folder: Path = settings.store
    if not folder.is_dir():
        raise InputError(f"there is no store at {folder}; build one, or name another folder")
    there = Store(folder).models()
    if not there and (folder / "config.json").is_file():
        raise InputError(
            f"{folder} is a model, not a store; make one of it: paretext build {folder} --data DATA"
            " --store STORE"
        )
    missing = [name for name in settings.models if name not in there]
    if missing:
        raise InputError(
            f"the store {folder} has no model {', '.join(missing)}; "
            f"there are: {', '.join(there) or 'none'}"
        )


def _probe(stored: StoredVariant, tokenizer: TextTokenizer, runner: Runner) -> None:
    """Run once: a graph that cannot answer is refused now, and the first request is not slower."""
    task = stored.manifest.task
    where = f"{stored.manifest.model}/{stored.manifest.variant}"
    try:
        logits = runner.logits([tokenizer.encode(_PROBE, _PROBE if task.pair else None)])
    except Exception as error:  # ONNX Runtime raises many unrelated types
        raise StoreError(f"{where}: it cannot run: {error}") from error
    if logits.shape != (1, len(task.labels)):
        raise StoreError(
            f"{where}: its graph gives logits of shape {logits.shape} for {len(task.labels)} labels"
        )


def _candidate(stored: StoredVariant, device: str, profile: HostProfile | None) -> Candidate:
    measured = stored.manifest.measured
    return Candidate(
        variant=stored.manifest.variant,
        device=device,
        accuracy=measured.primary.value,
        accuracy_ci95=measured.primary.ci95,
        file_bytes=(stored.folder / stored.manifest.plan.file).stat().st_size,
        macs=measured.macs,
        p50_ms=profile.predicted_ms(RANKING_TOKENS) if profile else None,
        memory_bytes=profile.resident_bytes if profile else None,
    )
