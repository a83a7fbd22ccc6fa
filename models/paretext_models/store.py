"""Variants on disk: published atomically, found, verified, removed.

    STORE/<model>/<variant>/<revision>/   the variant's files; never changed once published
    STORE/<model>/model.json              which revision of each variant counts; replaced atomically

A reader needs no lock: it sees the old pointer or the new one. Writers of one model take turns.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from paretext_models.errors import StoreError
from paretext_models.manifest import NAME_PATTERN, Manifest, Name, is_name, revision_of
from paretext_models.verify import (
    MANIFEST,
    hash_files,
    is_intact,
    read_manifest,
    sha256_of,
    verify_files,
)

__all__ = [
    "MANIFEST",
    "POINTER",
    "ModelPointer",
    "Refusal",
    "Store",
    "StoredVariant",
    "hash_files",
    "sha256_of",
]

POINTER = "model.json"
_LOCK = ".lock"
_STAGING = ".staging-"
_ASIDE = f".{POINTER}-"
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
        manifest = read_manifest(folder, revision, where)
        if (manifest.model, manifest.variant) != (model, variant):
            raise StoreError(f"{where}: its manifest is of {manifest.model}/{manifest.variant}")
        verify_files(folder, manifest, where)
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

    def publish(
        self,
        staged: Path,
        manifest: Manifest,
        *,
        teacher: str | None = None,
        first_is_default: bool = True,
    ) -> str:
        """Publish the files of a staging folder as a variant, and point the model at it.

        Args:
            staged: a folder from `staging` that holds every file the manifest lists.
            manifest: with the sha256 of every file.
            teacher: recorded in the pointer where given.
            first_is_default: a model's first variant becomes its default; a build that will choose
                among several leaves that open.

        Returns: the revision.

        Raises:
            StoreError: a file is missing or does not match its hash.
        """
        where = f"{manifest.model}/{manifest.variant}"
        if manifest.variant == POINTER:
            raise StoreError(f"{where}: a variant cannot be named like the model's pointer")
        content = manifest.to_json()
        revision = revision_of(content)
        verify_files(staged, manifest, where)
        (staged / MANIFEST).write_bytes(content)
        for file in staged.iterdir():
            _fsync(file)
        target = self._model_folder(manifest.model) / manifest.variant / revision
        with self._writing(manifest.model):
            target.parent.mkdir(exist_ok=True)
            if target.exists() and not is_intact(target, manifest):
                shutil.rmtree(target)  # damaged since: readers refuse it already
            if not target.exists():  # else the same content was published before
                staged.rename(target)
            _fsync(target.parent)
            default = manifest.variant if first_is_default else None
            self._point(
                manifest.model,
                lambda old: old.model_copy(
                    update={
                        "variants": {**old.variants, manifest.variant: revision},
                        "default": old.default or default,
                        "teacher": old.teacher if teacher is None else teacher,
                    }
                ),
            )
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
        """Remove what killed writers left behind: staging folders, and pointers never swapped in.

        Args:
            older_than_seconds: how long before the model's last change a staging folder must have
                been idle; a younger one may belong to a build that still runs.
        """
        folder = self._model_folder(model)
        if not folder.is_dir():
            return
        with self._writing(model):
            for aside in folder.glob(f"{_ASIDE}*"):  # written under the lock, which is ours now
                aside.unlink(missing_ok=True)
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
        aside = folder / f"{_ASIDE}{uuid.uuid4().hex}"
        aside.write_text(new.model_dump_json(indent=1) + "\n")
        _fsync(aside)
        os.replace(aside, folder / POINTER)
        _fsync(folder)


def _is_revision(text: str) -> bool:
    return len(text) == 12 and all(digit in "0123456789abcdef" for digit in text)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
