"""Variants on disk: published atomically, found, verified, removed.

    STORE/<model>/<variant>/<revision>/   the variant's files; never changed once published
    STORE/<model>/model.json              which revision of each variant counts; replaced atomically

A reader needs no lock: it sees the old pointer or the new one. Writers of one model take turns.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from paretext_models.errors import StoreError
from paretext_models.manifest import (
    NAME_PATTERN,
    PLAN_KINDS,
    SCHEMA_VERSION,
    Manifest,
    Name,
    is_name,
    revision_of,
)

MANIFEST = "manifest.json"
POINTER = "model.json"
_LOCK = ".lock"
_STAGING = ".staging-"
_LOCK_SECONDS = 60.0


class ModelPointer(BaseModel):
    """`model.json`: the variants of a model that count, and which of them is the default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    generation: int = Field(default=0, ge=0)
    default: Name | None = None
    teacher: str = ""
    variants: dict[Name, str] = {}


@dataclass(frozen=True)
class StoredVariant:
    """A variant whose files have been verified."""

    folder: Path
    revision: str
    manifest: Manifest


@dataclass(frozen=True)
class Refusal:
    """A variant that cannot be used, and why."""

    model: str
    variant: str
    reason: str


class Store:
    """A folder of models. Reading creates nothing, so a read-only file system serves."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def models(self) -> tuple[str, ...]:
        """The names of all models, sorted."""
        if not self.root.is_dir():
            return ()
        return tuple(
            sorted(
                entry.name
                for entry in self.root.iterdir()
                if is_name(entry.name) and not entry.is_symlink() and (entry / POINTER).is_file()
            )
        )

    def pointer(self, model: str) -> ModelPointer:
        """The model's pointer; an empty one if nothing was ever published.

        Raises:
            StoreError: the name is not one, or `model.json` is damaged.
        """
        file = self._model_folder(model) / POINTER
        try:
            return ModelPointer.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            return ModelPointer()
        except (OSError, ValidationError) as error:
            raise StoreError(f"{model}: {POINTER} cannot be read: {error}") from error

    def load(self, model: str, variant: str, revision: str | None = None) -> StoredVariant:
        """A variant, its hashes verified.

        Args:
            revision: by default the one that the model's pointer names.

        Raises:
            StoreError: it is missing, damaged, or of an unknown schema; the message names it.
        """
        where = f"{model}/{variant}"
        if not is_name(variant):
            raise StoreError(f"{variant!r} is not a variant name (expected {NAME_PATTERN})")
        if revision is None:
            revision = self.pointer(model).variants.get(variant)
            if revision is None:
                raise StoreError(f"{where}: no such variant")
        if not _is_revision(revision):
            raise StoreError(f"{where}: {revision!r} is not a revision")
        folder = self._model_folder(model) / variant / revision
        for part in (folder, folder.parent, folder.parent.parent, folder / MANIFEST):
            if part.is_symlink():
                raise StoreError(f"{where}: {part.name} is a symbolic link")
        manifest = _read_manifest(folder, revision, where)
        if (manifest.model, manifest.variant) != (model, variant):
            raise StoreError(f"{where}: its manifest is of {manifest.model}/{manifest.variant}")
        _verify_files(folder, manifest, where)
        return StoredVariant(folder, revision, manifest)

    def load_all(self, model: str) -> tuple[list[StoredVariant], list[Refusal]]:
        """Every variant that the pointer names; damaged ones are refused, the others go on."""
        loaded, refused = [], []
        for variant, revision in sorted(self.pointer(model).variants.items()):
            try:
                loaded.append(self.load(model, variant, revision))
            except StoreError as error:
                refused.append(Refusal(model, variant, str(error)))
        return loaded, refused

    @contextlib.contextmanager
    def staging(self, model: str) -> Iterator[Path]:
        """A folder beside the model's variants to put files in, removed if it is not published."""
        folder = self._model_folder(model) / f"{_STAGING}{uuid.uuid4().hex}"
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, staged: Path, manifest: Manifest, *, teacher: str | None = None) -> str:
        """Publish the files of a staging folder as a variant, and point the model at it.

        Args:
            staged: a folder from `staging` that holds every file the manifest lists.
            manifest: with the sha256 of every file.
            teacher: recorded in the pointer where given.

        Returns: the revision.

        Raises:
            StoreError: a file is missing or does not match its hash.
        """
        where = f"{manifest.model}/{manifest.variant}"
        content = manifest.to_json()
        revision = revision_of(content)
        _verify_files(staged, manifest, where)
        (staged / MANIFEST).write_bytes(content)
        for file in staged.iterdir():
            _fsync(file)
        target = self._model_folder(manifest.model) / manifest.variant / revision
        with self._writing(manifest.model):
            target.parent.mkdir(exist_ok=True)
            if target.exists() and not _is_intact(target, manifest):
                shutil.rmtree(target)  # damaged since: readers refuse it already
            if not target.exists():  # else the same content was published before
                staged.rename(target)
            _fsync(target.parent)
            self._point(manifest.model, lambda old: _with_variant(old, manifest, revision, teacher))
        return revision

    def set_default(self, model: str, variant: str) -> None:
        """Make a variant the one that answers where a request names none."""

        def change(old: ModelPointer) -> ModelPointer:
            if variant not in old.variants:
                raise StoreError(f"{model}/{variant}: no such variant")
            return old.model_copy(update={"default": variant})

        with self._writing(model):
            self._point(model, change)

    def remove(self, model: str, variant: str) -> None:
        """Take a variant out of the pointer and delete its files.

        Raises:
            StoreError: there is no such variant, or it is the default.
        """

        def change(old: ModelPointer) -> ModelPointer:
            if variant not in old.variants:
                raise StoreError(f"{model}/{variant}: no such variant")
            if variant == old.default:
                raise StoreError(f"{model}/{variant}: is the default; choose another one first")
            left = {name: value for name, value in old.variants.items() if name != variant}
            return old.model_copy(update={"variants": left})

        with self._writing(model):
            self._point(model, change)
            shutil.rmtree(self._model_folder(model) / variant, ignore_errors=True)

    def sweep(self, model: str, older_than_seconds: float = 3600.0) -> None:
        """Remove staging folders that a killed build left behind."""
        folder = self._model_folder(model)
        if not folder.is_dir():
            return
        with self._writing(model):
            newest = (folder / POINTER).stat().st_mtime if (folder / POINTER).exists() else 0.0
            for staged in folder.glob(f"{_STAGING}*"):
                with contextlib.suppress(OSError):
                    if newest - staged.stat().st_mtime > older_than_seconds:
                        shutil.rmtree(staged, ignore_errors=True)

    def _model_folder(self, model: str) -> Path:
        if not is_name(model):
            raise StoreError(f"{model!r} is not a model name (expected {NAME_PATTERN})")
        return self.root / model

    @contextlib.contextmanager
    def _writing(self, model: str) -> Iterator[None]:
        folder = self._model_folder(model)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            held = FileLock(folder / _LOCK).acquire(timeout=_LOCK_SECONDS)
        except Timeout as error:
            raise StoreError(
                f"{model}: another process has been writing for {_LOCK_SECONDS:.0f} s"
            ) from error
        with held:
            yield

    def _point(self, model: str, change: Callable[[ModelPointer], ModelPointer]) -> None:
        """Replace the pointer. The caller holds the lock."""
        old = self.pointer(model)
        new = change(old).model_copy(update={"generation": old.generation + 1})
        folder = self._model_folder(model)
        aside = folder / f".{POINTER}-{uuid.uuid4().hex}"
        aside.write_text(new.model_dump_json(indent=1) + "\n")
        _fsync(aside)
        os.replace(aside, folder / POINTER)
        _fsync(folder)


def sha256_of(file: Path) -> str:
    """The sha256 of a file's content, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_files(folder: Path) -> dict[str, str]:
    """The sha256 of every file in a variant's folder but the manifest."""
    return {
        file.name: sha256_of(file) for file in sorted(folder.iterdir()) if file.name != MANIFEST
    }


def _with_variant(
    old: ModelPointer, manifest: Manifest, revision: str, teacher: str | None
) -> ModelPointer:
    return old.model_copy(
        update={
            "variants": {**old.variants, manifest.variant: revision},
            "default": old.default or manifest.variant,
            "teacher": old.teacher if teacher is None else teacher,
        }
    )


def _read_manifest(folder: Path, revision: str, where: str) -> Manifest:
    file = folder / MANIFEST
    try:
        content = file.read_bytes()
    except OSError as error:
        raise StoreError(f"{where}: {MANIFEST} cannot be read: {error.strerror}") from error
    if revision_of(content) != revision:
        raise StoreError(f"{where}: {MANIFEST} was changed after it was published as {revision}")
    try:
        raw = json.loads(content)
        version, plan = raw["schema_version"], raw["plan"]["kind"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{where}: {MANIFEST} is not a manifest: {error}") from error
    # Told apart from damage: the remedy is another version of Paretext, not another copy.
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{where}: schema version {version!r}; this Paretext reads {SCHEMA_VERSION}"
        )
    if plan not in PLAN_KINDS:
        raise StoreError(f"{where}: plan {plan!r}; this Paretext runs {', '.join(PLAN_KINDS)}")
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        raise StoreError(f"{where}: {MANIFEST} is not valid: {error}") from error


def _is_intact(folder: Path, manifest: Manifest) -> bool:
    try:
        _verify_files(folder, manifest, folder.name)
    except StoreError:
        return False
    return (folder / MANIFEST).is_file() and (folder / MANIFEST).read_bytes() == manifest.to_json()


def _verify_files(folder: Path, manifest: Manifest, where: str) -> None:
    for name, expected in manifest.files.items():
        file = folder / name
        if file.is_symlink():
            raise StoreError(f"{where}: {name} is a symbolic link")
        if not file.is_file():
            raise StoreError(f"{where}: {name} is missing")
        if sha256_of(file) != expected:
            raise StoreError(f"{where}: {name} does not match its sha256; the file is damaged")
    # An ONNX graph may read other files of its folder: there must be none that nobody verified.
    for name in sorted({entry.name for entry in folder.iterdir()} - {*manifest.files, MANIFEST}):
        raise StoreError(f"{where}: {name} is not a file of its manifest")


def _is_revision(text: str) -> bool:
    return len(text) == 12 and all(digit in "0123456789abcdef" for digit in text)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
