"""Every setting of the server. The one place in the service that reads the environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from paretext_models.host import cores
from paretext_models.settings import cache_folder


class DeviceClass(BaseModel):
    """Limits that stand for a kind of device; `X-Device` selects the variants within them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str = Field("cpu", description="execution target that answers for the class")
    max_file_mb: float | None = Field(
        None, gt=0, description="largest model file, in MB of 1,000,000 bytes"
    )
    max_memory_mb: float | None = Field(
        None, gt=0, description="most resident memory by this host's profile, in MB"
    )


Words = Annotated[tuple[str, ...], NoDecode]
Keys = Annotated[tuple[SecretStr, ...], NoDecode]


class Settings(BaseSettings):
    """How to serve. Each field is also `PARETEXT_<NAME>` in the environment."""

    model_config = SettingsConfigDict(frozen=True, env_prefix="PARETEXT_", extra="forbid")

    store: Path = Field(description="folder of the models and their variants")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    models: Words = Field((), description="serve only these models; empty: all")
    variants: Words = Field((), description="serve only these variants; empty: all")
    cache: Path = Field(
        default_factory=cache_folder, description="folder of the profiles measured on this host"
    )
    device: str = Field("cpu", description="execution target that variants run on: cpu or cuda:N")
    device_classes: dict[str, DeviceClass] = Field(
        {}, description="classes of devices that X-Device may name, as limits"
    )
    workers: int = Field(
        default_factory=cores, ge=1, le=1024, description="texts that run at the same time"
    )
    max_queue_texts: int = Field(
        2000, ge=1, description="texts that may wait; more are refused with 429"
    )
    max_body_bytes: int = Field(2 * 2**20, ge=1, description="largest request body, in bytes")
    max_texts: int = Field(1000, ge=1, description="most texts in one request")
    max_text_chars: int = Field(100_000, ge=1, description="longest text, in characters")
    max_connections: int = Field(1000, ge=1, description="most connections open at once")
    default_deadline_ms: float | None = Field(
        None, gt=0, description="deadline of requests without X-Deadline-Ms; none by default"
    )
    max_degradation: float = Field(
        1.0, ge=0, le=100, description="accuracy points that overload may cost a request"
    )
    latency_target_ms: float = Field(
        10.0, gt=0, description="latency to watch: an exact edge of the latency histograms"
    )
    api_keys: Keys = Field((), description="keys that may use the API; empty: everyone may")
    admin_keys: Keys = Field((), description="keys that may use everything")
    metrics_open: bool = Field(True, description="serve /metrics without a key")
    reload_seconds: float = Field(
        2.0, gt=0, description="how often the store is looked at for changes"
    )
    drain_seconds: float = Field(
        30.0, ge=0, description="time that accepted requests get to end after SIGTERM"
    )
    keepalive_seconds: float = Field(
        5.0, gt=0, description="how long an idle connection is kept open"
    )
    header_timeout_seconds: float = Field(
        10.0, gt=0, description="time a client has to send the head of a request"
    )
    body_timeout_seconds: float = Field(
        30.0, gt=0, description="time a client has to send a body, or to take an answer"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severity that is logged; info logs each request"
    )
    log_json: bool = Field(False, description="log one JSON object a line instead of text")

    @field_validator("models", "variants", "api_keys", "admin_keys", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """In the environment: separated by commas, or a JSON list."""
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return json.loads(value)
        return [word.strip() for word in value.split(",") if word.strip()]

    @field_validator("api_keys", "admin_keys")
    @classmethod
    def _no_empty_key(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(key.get_secret_value().strip() for key in value):
            raise ValueError("an empty key would let everyone in")
        return value

    @model_validator(mode="after")
    def _limits_agree(self) -> Settings:
        if self.max_queue_texts < self.max_texts:
            raise ValueError("max_queue_texts: expected at least max_texts")
        return self
