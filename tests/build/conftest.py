"""What the tests of the compression package share: teachers and builds, made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tiny_builds import Case, make_case
from tiny_models import plain_machine


@pytest.fixture(autouse=True)
def on_a_plain_machine() -> Iterator[None]:
    with plain_machine():
        yield


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """A trained teacher for each kind of data, made when first asked for; not to be changed."""

    @cache
    def case(kind: str) -> Case:
        with plain_machine():
            return make_case(tmp_path_factory.mktemp(kind), kind)

    return case


@pytest.fixture(scope="session")
def built(
    cases: Callable[[str], Case], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The folder of a finished build of the recommended set; not to be changed."""

    @cache
    def folder(kind: str) -> Path:
        with plain_machine():
            made = tmp_path_factory.mktemp(f"built-{kind}")
            cases(kind).build(made)
            return made

    return folder
