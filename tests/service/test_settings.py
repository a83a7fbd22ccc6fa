"""Settings: from arguments and from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from paretext_service.settings import Settings


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARETEXT_STORE", "/models")
    monkeypatch.setenv("PARETEXT_PORT", "9000")
    monkeypatch.setenv("PARETEXT_API_KEYS", "first, second")
    monkeypatch.setenv("PARETEXT_MODELS", '["a", "b"]')
    monkeypatch.setenv("PARETEXT_DEVICE_CLASSES", '{"edge": {"max_file_mb": 10}}')
    settings = Settings()  # type: ignore[call-arg]
    assert (settings.store, settings.port) == (Path("/models"), 9000)
    assert [key.get_secret_value() for key in settings.api_keys] == ["first", "second"]
    assert settings.models == ("a", "b")
    assert settings.device_classes["edge"].max_file_mb == 10
    assert "first" not in repr(settings)


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 70_000},
        {"workers": 0},
        {"api_keys": ("a", " ")},
        {"max_queue_texts": 10, "max_texts": 11},
        {"device_classes": {"edge": {"max_mb": 1}}},
        {"unknown": 1},
    ],
)
def test_wrong_settings(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings(store=Path("x"), **wrong)  # type: ignore[arg-type]


def test_settings_do_not_change() -> None:
    settings = Settings(store=Path("x"))
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]
