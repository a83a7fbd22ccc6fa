"""The recipes that ship are valid, and cover every method."""

from __future__ import annotations

from pathlib import Path

import pytest

from paretext_compression import recipes
from paretext_models.errors import InputError
from paretext_models.recipe import methods, validate
from tiny_models import ARCHITECTURES


@pytest.mark.parametrize("name", recipes.names())
def test_each_is_valid_for_every_architecture(name: str) -> None:
    recipe = recipes.find(name)
    assert recipe.name == name
    assert recipe.description
    for architecture in ARCHITECTURES:
        assert validate(recipe.to_dict(), architecture=architecture) == recipe


def test_every_method_has_one() -> None:
    used = {step.method for name in recipes.names() for step in recipes.find(name).steps}
    assert used == set(methods())


def test_the_recommended_ones_exist_and_begin_with_the_teacher_itself() -> None:
    assert set(recipes.RECOMMENDED) <= set(recipes.names())
    assert recipes.find(recipes.RECOMMENDED[0]).steps == ()
    families = {
        step.method.split(".")[0]
        for name in recipes.RECOMMENDED
        for step in recipes.find(name).steps
    }
    assert families >= {"quantization", "pruning", "distillation"}


def test_an_unknown_one_is_refused_naming_those_there_are() -> None:
    with pytest.raises(InputError, match=r"recipe: got 'int9', expected one of cnn, .*int8"):
        recipes.find("int9")


def test_a_file_is_one_too(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\n[[steps]]\nmethod = "pruning.heads"\nfraction = 0.25\n')
    (step,) = recipes.find(str(file)).steps
    assert step.parameters["fraction"] == 0.25


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"name = ", b"name = 'A b'"])
def test_a_bad_file_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "mine.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"mine\.toml"):
        recipes.find(str(file))
