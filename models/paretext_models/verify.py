"""Whether a variant's folder holds what was published: its manifest, and the hash of every file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import ValidationError

from paretext_models.errors import StoreError
from paretext_models.manifest import PLAN_KINDS, SCHEMA_VERSION, Manifest, revision_of

MANIFEST = "manifest.json"


def read_manifest(folder: Path, revision: str, where: str) -> Manifest:
    """The manifest of a variant's folder.

    Args:
        revision: what it was published as.
        where: what to call the variant in an error.

    Raises:
        StoreError: it is missing, was changed, or is of a schema or plan that is not known here.
    """
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


def verify_files(folder: Path, manifest: Manifest, where: str) -> None:
    """Check that a folder holds the manifest's files and no others.

    Raises:
        StoreError: a file is missing, damaged, a symbolic link, or not listed.
    """
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


def is_intact(folder: Path, manifest: Manifest) -> bool:
    """Whether a folder holds exactly what was published with this manifest."""
    try:
        verify_files(folder, manifest, folder.name)
    except StoreError:
        return False
    return (folder / MANIFEST).is_file() and (folder / MANIFEST).read_bytes() == manifest.to_json()


def hash_files(folder: Path) -> dict[str, str]:
    """The sha256 of every file in a variant's folder but the manifest."""
    return {
        file.name: sha256_of(file) for file in sorted(folder.iterdir()) if file.name != MANIFEST
    }


def sha256_of(file: Path) -> str:
    """The sha256 of a file's content, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
