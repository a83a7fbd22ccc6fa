from __future__ import annotations

from pathlib import Path

import pytest

from paretext_models import host
from paretext_models import profile as profile_module
from paretext_models.errors import StoreError
from paretext_models.footprint import footprint
from paretext_models.manifest import TokenizerSpec
from paretext_models.profile import BucketProfile, HostProfile, cached_profile, measure, profile
from paretext_models.settings import cache_folder
from paretext_models.store import Store, StoredVariant
from tiny_store import publish_tiny


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile_module, "_SECONDS", 0.05)


@pytest.fixture
def stored(tmp_path: Path) -> StoredVariant:
    publish_tiny(tmp_path / "store", tokenizer=TokenizerSpec(max_tokens=128))
    return Store(tmp_path / "store").load("tiny", "fp32")


def test_measured_figures_are_plausible(stored: StoredVariant) -> None:
    measured = measure(stored)
    assert [bucket.tokens for bucket in measured.buckets] == [16, 64, 128]
    for bucket in measured.buckets:
        assert 0 < bucket.p50_ms <= bucket.p95_ms <= bucket.p99_ms
        assert bucket.runs >= 20
        assert bucket.texts_per_second > 0
    assert measured.load_seconds > 0
    assert measured.host["cores"] == str(host.cores())
    assert measured.host["cpu"]


def test_no_bucket_is_longer_than_the_variant_takes(tmp_path: Path) -> None:
    publish_tiny(tmp_path, tokenizer=TokenizerSpec(max_tokens=32))
    measured = measure(Store(tmp_path).load("tiny", "fp32"))
    assert [bucket.tokens for bucket in measured.buckets] == [16, 32]


def test_a_profile_is_measured_once(stored: StoredVariant, tmp_path: Path) -> None:
    assert cached_profile(stored, tmp_path / "cache") is None
    first = profile(stored, tmp_path / "cache")
    assert profile(stored, tmp_path / "cache") == first
    assert cached_profile(stored, tmp_path / "cache") == first
    assert profile(stored, tmp_path / "cache", refresh=True) != first
    assert len(list((tmp_path / "cache" / "profiles").iterdir())) == 1


def test_another_file_device_or_host_has_its_own_profile(
    stored: StoredVariant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile(stored, tmp_path / "cache")
    assert cached_profile(stored, tmp_path / "cache", device="cuda:0") is None
    publish_tiny(tmp_path / "store", seed=1, tokenizer=TokenizerSpec(max_tokens=128))
    rebuilt = Store(tmp_path / "store").load("tiny", "fp32")
    assert cached_profile(rebuilt, tmp_path / "cache") is None
    monkeypatch.setattr(host, "cores", lambda: 77)
    assert cached_profile(stored, tmp_path / "cache") is None


def test_a_manifest_that_differs_elsewhere_shares_the_profile(
    stored: StoredVariant, tmp_path: Path
) -> None:
    first = profile(stored, tmp_path / "cache")
    publish_tiny(tmp_path / "store", accuracy=0.5, tokenizer=TokenizerSpec(max_tokens=128))
    same_file = Store(tmp_path / "store").load("tiny", "fp32")
    assert same_file.revision != stored.revision
    assert cached_profile(same_file, tmp_path / "cache") == first


def test_a_cache_that_cannot_be_written_is_no_error(stored: StoredVariant, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert profile(stored, tmp_path / "cache").buckets
    assert cached_profile(stored, tmp_path / "cache") is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"profile_version": 1}'])
def test_a_damaged_cache_is_measured_again(
    stored: StoredVariant, tmp_path: Path, content: bytes
) -> None:
    first = profile(stored, tmp_path / "cache")
    (file,) = (tmp_path / "cache" / "profiles").iterdir()
    file.write_bytes(content)
    assert cached_profile(stored, tmp_path / "cache") is None
    assert profile(stored, tmp_path / "cache").host == first.host


@pytest.mark.parametrize(
    ("tokens", "expected"), [(1, 1.0), (16, 1.0), (40, 1.5), (64, 2.0), (128, 4.0), (192, 6.0)]
)
def test_prediction_is_linear_between_and_beyond(tokens: int, expected: float) -> None:
    buckets = tuple(
        BucketProfile(tokens=t, p50_ms=p, p95_ms=2 * p, p99_ms=3 * p, runs=1, texts_per_second=1)
        for t, p in ((16, 1.0), (64, 2.0), (128, 4.0))
    )
    known = HostProfile(host={}, load_seconds=1, resident_bytes=1, buckets=buckets)
    assert known.predicted_ms(tokens) == pytest.approx(expected)
    assert known.predicted_ms(tokens, "p95") == pytest.approx(2 * expected)


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PARETEXT_CACHE", str(tmp_path / "named"))
    assert cache_folder() == tmp_path / "named"
    monkeypatch.delenv("PARETEXT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "paretext"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "paretext"


def test_memory_is_measured_in_a_process_of_its_own(stored: StoredVariant) -> None:
    """A process that has freed memory before would say that loading costs none."""
    released = bytearray(200_000_000)
    del released
    assert footprint(stored.folder).resident_bytes > 100_000


def test_a_variant_that_cannot_be_loaded_has_no_footprint(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be measured"):
        footprint(tmp_path)
