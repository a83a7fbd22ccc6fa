"""One variant of a report: its manifest, and its profile on this host where there is one."""

from __future__ import annotations

from dataclasses import dataclass

from paretext_models.manifest import Manifest, Measured
from paretext_models.profile import BucketProfile, HostProfile

# Variants are compared at so many tokens, or at the most that they take.
_TOKENS = 64


@dataclass(frozen=True)
class Row:
    """One variant of a report, with its profile on this host where there is one."""

    manifest: Manifest
    profile: HostProfile | None
    label: str = ""
    on_frontier: bool = False
    is_default: bool = False

    @property
    def variant(self) -> str:
        return self.manifest.variant

    @property
    def measured(self) -> Measured:
        return self.manifest.measured

    @property
    def speed(self) -> BucketProfile | None:
        """The latency that variants are compared by."""
        return self.at(min(_TOKENS, self.manifest.tokenizer.max_tokens))

    def at(self, tokens: int) -> BucketProfile | None:
        """What was measured at exactly so many tokens."""
        buckets = self.profile.buckets if self.profile else ()
        return next((bucket for bucket in buckets if bucket.tokens == tokens), None)

    @property
    def host(self) -> str:
        """What it was profiled on, in words; empty where it was not."""
        if self.profile is None:
            return ""
        cores, device = (self.profile.host.get(key) for key in ("cores", "device"))
        cpu = self.profile.host.get("cpu", "unknown CPU")
        named = f"{cpu}, {cores or '?'} core{'s' * (cores != '1')}"
        return named if device in (None, "cpu") else f"{named}, {device}"

    def cost(self, *, timed: bool) -> float:
        """A chart's x: p50 in ms, or multiply-accumulates where nothing is timed; 0 if unknown."""
        if timed:
            return self.speed.p50_ms if self.speed else 0.0
        return float(self.measured.macs)
