from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from paretext_models.errors import StoreError
from paretext_models.manifest import revision_of
from paretext_models.store import Store, hash_files
from tiny_store import publish_tiny, tiny_manifest


def folder_of(root: Path, variant: str = "fp32") -> Path:
    return root / "tiny" / variant / Store(root).pointer("tiny").variants[variant]


def rewrite_manifest(root: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Edit the manifest as an attacker or an old version would: consistently, revision included."""
    folder = folder_of(root)
    raw = json.loads((folder / "manifest.json").read_bytes())
    change(raw)
    content = json.dumps(raw).encode()
    (folder / "manifest.json").write_bytes(content)
    folder.rename(folder.parent / revision_of(content))
    pointer = Store(root).pointer("tiny")
    edited = pointer.model_copy(update={"variants": {"fp32": revision_of(content)}})
    (root / "tiny" / "model.json").write_text(edited.model_dump_json())


def test_published_variant_is_found_and_verified(tmp_path: Path) -> None:
    revision = publish_tiny(tmp_path)
    stored = Store(tmp_path).load("tiny", "fp32")
    assert (stored.revision, stored.manifest.variant) == (revision, "fp32")
    assert Store(tmp_path).models() == ("tiny",)
    assert Store(tmp_path).pointer("tiny").default == "fp32"
    assert not list((tmp_path / "tiny").glob(".staging-*"))


def test_reading_a_store_that_is_not_there_creates_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "none")
    assert store.models() == ()
    assert store.load_all("tiny") == ([], [])
    with pytest.raises(StoreError, match="tiny/fp32: no such variant"):
        store.load("tiny", "fp32")
    assert not store.root.exists()


def test_old_revisions_stay_loadable(tmp_path: Path) -> None:
    old, new = publish_tiny(tmp_path, seed=0), publish_tiny(tmp_path, seed=1)
    assert old != new
    assert Store(tmp_path).load("tiny", "fp32").revision == new
    assert Store(tmp_path).load("tiny", "fp32", old).revision == old


def test_a_damaged_variant_is_refused_and_the_others_go_on(tmp_path: Path) -> None:
    publish_tiny(tmp_path)
    publish_tiny(tmp_path, variant="int8")
    file = folder_of(tmp_path) / "model.onnx"
    file.write_bytes(file.read_bytes()[:-100])
    loaded, refused = Store(tmp_path).load_all("tiny")
    assert [stored.manifest.variant for stored in loaded] == ["int8"]
    assert [(each.variant, each.reason) for each in refused] == [
        ("fp32", "tiny/fp32: model.onnx does not match its sha256; the file is damaged")
    ]


def remove_graph(folder: Path) -> None:
    (folder / "model.onnx").unlink()


def link_graph(folder: Path) -> None:
    move_and_link(folder / "model.onnx")


def link_manifest(folder: Path) -> None:
    move_and_link(folder / "manifest.json")


def link_revision(folder: Path) -> None:
    move_and_link(folder)


def link_variant(folder: Path) -> None:
    move_and_link(folder.parent)


def link_model(folder: Path) -> None:
    move_and_link(folder.parent.parent)


def move_and_link(path: Path) -> None:
    aside = path.parent / f"aside-{path.name}"
    path.rename(aside)
    path.symlink_to(aside)


def add_file(folder: Path) -> None:
    (folder / "weights.bin").write_bytes(b"unverified")


def edit_manifest(folder: Path) -> None:
    file = folder / "manifest.json"
    file.write_text(file.read_text().replace('"n": 1000', '"n": 9000'))


def remove_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (remove_graph, "model.onnx is missing"),
        (link_graph, "model.onnx is a symbolic link"),
        (link_manifest, "manifest.json is a symbolic link"),
        (link_revision, "[0-9a-f]{12} is a symbolic link"),
        (link_variant, "fp32 is a symbolic link"),
        (link_model, "tiny is a symbolic link"),
        (add_file, "weights.bin is not a file of its manifest"),
        (edit_manifest, "manifest.json was changed after it was published as"),
        (remove_manifest, "manifest.json cannot be read"),
    ],
)
def test_what_was_tampered_with_is_refused_by_name(
    tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    publish_tiny(tmp_path)
    damage(folder_of(tmp_path))
    with pytest.raises(StoreError, match=f"^tiny/fp32: {reason}"):
        Store(tmp_path).load("tiny", "fp32")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda raw: raw.update(schema_version=2), "schema version 2; this Paretext reads 1"),
        (lambda raw: raw["plan"].update(kind="cascade"), "plan 'cascade'; this Paretext runs"),
        (lambda raw: raw.pop("plan"), "is not a manifest"),
        (lambda raw: raw.update(plan=[]), "is not a manifest"),
        (lambda raw: raw.update(surprise=1), "is not valid(.|\n)*surprise"),
        (lambda raw: raw.update(variant="int8"), "its manifest is of tiny/int8"),
        (lambda raw: raw["files"].update({"../secret": "0" * 64}), "is not valid"),
        (lambda raw: raw["files"].update({"/etc/passwd": "0" * 64}), "is not valid"),
        (lambda raw: raw["plan"].update(file="../../model.onnx"), "is not valid"),
        (lambda raw: raw["files"].update({"model.onnx": "0" * 64}), "does not match its sha256"),
    ],
)
def test_a_consistent_but_wrong_manifest_is_refused_by_name(
    tmp_path: Path, change: Callable[[dict[str, object]], object], reason: str
) -> None:
    publish_tiny(tmp_path)
    rewrite_manifest(tmp_path, change)
    loaded, (refusal,) = Store(tmp_path).load_all("tiny")
    assert not loaded
    with pytest.raises(StoreError, match=f"^tiny/fp32: .*{reason}"):
        raise StoreError(refusal.reason)


@pytest.mark.parametrize("name", ["..", "../tiny", "/tmp", "", "a/b", "UPPER", ".lock", "a\n"])
def test_names_cannot_climb_out(tmp_path: Path, name: str) -> None:
    publish_tiny(tmp_path)
    store = Store(tmp_path)
    for call in (
        lambda: store.load(name, "fp32"),
        lambda: store.load("tiny", name),
        lambda: store.load("tiny", "fp32", name),
        lambda: store.pointer(name),
        lambda: store.set_default("tiny", name),
        lambda: store.remove("tiny", name),
        lambda: store.staging(name).__enter__(),
    ):
        with pytest.raises(StoreError):
            call()
    assert (tmp_path / "tiny").is_dir()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"variants": {"../x": "1"}}', b'{"generation": -1}'],
)
def test_a_damaged_pointer_names_the_model(tmp_path: Path, content: bytes) -> None:
    publish_tiny(tmp_path)
    (tmp_path / "tiny" / "model.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"^tiny: model\.json cannot be read"):
        Store(tmp_path).pointer("tiny")


@pytest.mark.parametrize("revision", ["../../other", "ABCDEF012345", "12", ""])
def test_a_pointer_to_no_revision_is_refused(tmp_path: Path, revision: str) -> None:
    publish_tiny(tmp_path)
    pointer = {"generation": 1, "variants": {"fp32": revision}}
    (tmp_path / "tiny" / "model.json").write_text(json.dumps(pointer))
    _, (refusal,) = Store(tmp_path).load_all("tiny")
    assert "is not a revision" in refusal.reason


def test_publishing_a_wrong_hash_changes_nothing(tmp_path: Path) -> None:
    publish_tiny(tmp_path)
    before = Store(tmp_path).pointer("tiny")
    with pytest.raises(StoreError, match=r"tiny/fp32: model\.onnx does not match"):
        publish_tiny(
            tmp_path, files={"model.onnx": "0" * 64, "tokenizer.json": "0" * 64}, accuracy=0.5
        )
    assert Store(tmp_path).pointer("tiny") == before


def test_no_variant_takes_the_place_of_the_pointer(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(StoreError, match=r"^tiny/model\.json: a variant cannot be named like"):
            publish_tiny(tmp_path, variant="model.json")
        publish_tiny(tmp_path)
    assert set(Store(tmp_path).pointer("tiny").variants) == {"fp32"}


def test_publishing_again_repairs_a_damaged_revision(tmp_path: Path) -> None:
    revision = publish_tiny(tmp_path)
    (folder_of(tmp_path) / "model.onnx").write_bytes(b"")
    assert publish_tiny(tmp_path) == revision
    assert Store(tmp_path).load("tiny", "fp32").revision == revision


def test_the_default_can_move_but_not_be_removed(tmp_path: Path) -> None:
    publish_tiny(tmp_path)
    publish_tiny(tmp_path, variant="int8")
    store = Store(tmp_path)
    with pytest.raises(StoreError, match="tiny/fp32: is the default"):
        store.remove("tiny", "fp32")
    store.set_default("tiny", "int8")
    store.remove("tiny", "fp32")
    assert set(store.pointer("tiny").variants) == {"int8"}
    assert not (tmp_path / "tiny" / "fp32").exists()
    for call in (store.set_default, store.remove):
        with pytest.raises(StoreError, match="tiny/fp32: no such variant"):
            call("tiny", "fp32")


def test_sweep_removes_pointers_that_were_never_swapped_in(tmp_path: Path) -> None:
    publish_tiny(tmp_path)
    before = Store(tmp_path).pointer("tiny")
    left = tmp_path / "tiny" / ".model.json-0123"
    left.write_text("{")
    Store(tmp_path).sweep("tiny")
    assert not left.exists()
    assert Store(tmp_path).pointer("tiny") == before
    assert Store(tmp_path).load("tiny", "fp32").manifest.variant == "fp32"


def test_sweep_removes_only_old_staging(tmp_path: Path) -> None:
    publish_tiny(tmp_path)
    old, new = tmp_path / "tiny" / ".staging-old", tmp_path / "tiny" / ".staging-new"
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (1, 1))
    Store(tmp_path).sweep("tiny")
    assert new.is_dir()
    assert not old.exists()
    Store(tmp_path).sweep("nothing")
    assert not (tmp_path / "nothing").exists()


def test_an_unpublished_staging_folder_is_removed(tmp_path: Path) -> None:
    class Failed(Exception):
        pass

    def fail() -> None:
        with Store(tmp_path).staging("tiny") as folder:
            (folder / "model.onnx").write_bytes(b"half")
            raise Failed

    with pytest.raises(Failed):
        fail()
    assert not list((tmp_path / "tiny").iterdir())
    assert Store(tmp_path).models() == ()


def test_a_read_only_store_is_read(tmp_path: Path) -> None:
    publish_tiny(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    Store(tmp_path).load_all("tiny")
    assert sorted(tmp_path.rglob("*")) == before


def test_hash_files_leaves_the_manifest_out(tmp_path: Path) -> None:
    publish_tiny(tmp_path)
    folder = shutil.copytree(folder_of(tmp_path), tmp_path / "copy")
    assert hash_files(folder) == tiny_manifest(folder, "tiny", "fp32").files
