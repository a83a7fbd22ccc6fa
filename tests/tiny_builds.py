"""Tiny teachers, trained once, and builds from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paretext_compression import recipes
from paretext_compression.build import BuildOptions, Built, build
from paretext_compression.progress import Report, silent
from paretext_compression.train import TrainOptions, train
from tiny_models import Architecture, quick_recipe, save_encoder, write_data

# Which architecture stands for which kind of data.
CASES: dict[str, Architecture] = {
    "single_label": "bert",
    "multi_label": "distilbert",
    "regression": "roberta",
    "pairs": "bert",
}
RECIPES = recipes.RECOMMENDED
TRAINING = TrainOptions(epochs=15, batch_size=16, learning_rate=2e-3)


@dataclass(frozen=True)
class Case:
    """A data set with an encoder and the teacher made of both."""

    kind: str
    encoder: Path
    data: str
    teacher: Path

    def options(self, folder: Path, *names: str, **changes: Any) -> BuildOptions:
        """How to build these recipes, by default the recommended ones, inside a folder."""
        fields: dict[str, Any] = {
            "model": str(self.teacher),
            "data": self.data,
            "store": folder / "store",
            "name": "tiny",
            "recipes": tuple(quick_recipe(name) for name in names or RECIPES),
            "work": folder / "work",
        }
        return BuildOptions(**{**fields, **changes})

    def build(
        self, folder: Path, *names: str, report: Report = silent, **changes: Any
    ) -> list[Built]:
        return build(self.options(folder, *names, **changes), report)


def make_case(folder: Path, kind: str) -> Case:
    """Write encoder and data, and train."""
    encoder = save_encoder(folder / "encoder", CASES[kind])
    case = Case(kind, encoder, write_data(folder / "data", kind), folder / "teacher")
    train(str(encoder), case.data, case.teacher, TRAINING, silent)
    return case
