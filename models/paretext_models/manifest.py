"""The manifest: what a variant is, where it came from, and what was measured on it.

Written once by the builder, read by the store, the service, the profiler and the reports. It holds
only what is true on every machine; speeds belong to the host profile (`profile.py`).
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

SCHEMA_VERSION: Literal[1] = 1
NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,63}"
# A file of a variant lies directly in its folder: one path segment that cannot climb out.
FILE_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"

Name = Annotated[str, StringConstraints(pattern=rf"^{NAME_PATTERN}$")]
FileName = Annotated[str, StringConstraints(pattern=rf"^{FILE_PATTERN}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Problem = Literal["single_label", "multi_label", "regression"]


class _Part(BaseModel):
    """Frozen, and strict about keys: a misspelt field must not pass silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Task(_Part):
    """What is predicted: the problem, its labels in logit order, and single texts or pairs."""

    problem: Problem
    labels: tuple[str, ...] = Field(min_length=1)
    pair: bool = False
    threshold: float = Field(
        default=0.5, gt=0, lt=1, description="multi-label: selected at or above this"
    )

    @model_validator(mode="after")
    def _labels_fit_the_problem(self) -> Task:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels: expected distinct names")
        if self.problem == "single_label" and len(self.labels) < 2:
            raise ValueError("labels: a single-label task needs at least two")
        if self.problem == "regression" and len(self.labels) != 1:
            raise ValueError("labels: a regression has exactly one, its score")
        return self


class TokenizerSpec(_Part):
    """The tokenizer's file, and the most tokens one input may have, special tokens included."""

    file: FileName = "tokenizer.json"
    max_tokens: int = Field(ge=2)
    pad_id: int = Field(default=0, ge=0)


class SinglePlan(_Part):
    """One ONNX graph from token ids to logits."""

    kind: Literal["single"] = "single"
    file: FileName = "model.onnx"
    # Position ids, and from them the most tokens, are the graph's own business.
    inputs: tuple[str, ...] = Field(min_length=1)


# The tagged union of execution plans; multi-stage kinds join it here, told apart by `kind`.
Plan = SinglePlan
PLAN_KINDS = ("single",)


class DataPart(_Part):
    """One part of the data as it was used: how many rows, and the hash of their content."""

    rows: int = Field(ge=0)
    sha256: Sha256


class Lineage(_Part):
    """Where a variant comes from; enough to build it again."""

    parent: str
    parent_sha256: Sha256
    recipe: dict[str, Any]
    data: dict[str, DataPart]
    teacher_trained_elsewhere: bool = False
    seed: int
    versions: dict[str, str]


class Estimate(_Part):
    """A measured value with its 95 % confidence interval on n rows of one part of the data."""

    name: str
    value: float
    ci95: tuple[float, float]
    split: str
    n: int = Field(ge=1)


class PairedTest(_Part):
    """This variant against its teacher on the same rows.

    `difference` is variant minus teacher in the primary metric; `p_value` is two-sided.
    """

    method: Literal["mcnemar_exact", "paired_bootstrap"]
    difference: float
    ci95: tuple[float, float]
    p_value: float = Field(ge=0, le=1)

    @property
    def shows_loss(self) -> bool:
        """Whether the variant is worse than its teacher at the 5 % level."""
        return self.difference < 0 and self.p_value < 0.05


class Flip(_Part):
    """A row (index in the reporting part) that the variant answers unlike its teacher."""

    row: int = Field(ge=0)
    label: str
    teacher: str
    variant: str


class Parity(_Part):
    """The exported fp32 graph against the torch network: largest difference over logit spread."""

    max_abs_difference: float = Field(ge=0)
    logit_spread: float = Field(ge=0)
    inputs: int = Field(ge=1)


class Measured(_Part):
    """What is true of a variant on any machine."""

    primary: Estimate
    others: tuple[Estimate, ...] = ()
    paired: PairedTest | None = None
    agreement: Estimate | None = None
    flips: tuple[Flip, ...] = ()
    calibration_error: float | None = Field(default=None, ge=0, le=1)
    per_class_recall: dict[str, float] = {}
    parameters: int = Field(ge=0)
    macs: int = Field(ge=0, description="multiply-accumulates for one text of `macs_tokens`")
    macs_tokens: int = Field(ge=1)
    bytes_on_disk: int = Field(ge=0)
    parity: Parity
    batch_independent: bool
    operators: dict[str, int] = {}


class Manifest(_Part):
    """Everything about one variant."""

    schema_version: Literal[1] = SCHEMA_VERSION
    model: Name
    variant: Name
    description: str = ""
    architecture: str
    task: Task
    tokenizer: TokenizerSpec
    plan: Plan
    lineage: Lineage
    measured: Measured
    files: dict[FileName, Sha256]

    @model_validator(mode="after")
    def _files_are_listed(self) -> Manifest:
        for needed in (self.plan.file, self.tokenizer.file):
            if needed not in self.files:
                raise ValueError(f"files: {needed} is used but has no hash")
        return self

    def to_json(self) -> bytes:
        """The canonical bytes, whose hash is the revision."""
        return (self.model_dump_json(indent=1) + "\n").encode()


def revision_of(manifest_json: bytes) -> str:
    """The first 12 hex digits of the manifest's sha256."""
    return hashlib.sha256(manifest_json).hexdigest()[:12]


def is_name(text: str) -> bool:
    """Whether `text` may name a model, a variant or a recipe."""
    return re.fullmatch(NAME_PATTERN, text) is not None
