"""Whatever stands in a recipe, the answer is a recipe or a message that names its faults."""

from __future__ import annotations

import json
import random
import tomllib
from typing import Any

import pytest

from paretext_models.errors import FaultsError, InputError
from paretext_models.recipe import methods, parse, validate

HUGE = 10**400


def one_step(method: Any, **parameters: Any) -> dict[str, Any]:
    return {"name": "a", "steps": [{"method": method, **parameters}]}


@pytest.mark.parametrize(
    "text",
    ["name = ", "name = 'a'\nname = 'b'", "\x00", "x = " + "[" * 5000, f"x = {'9' * 5000}", "{}"],
)
def test_what_is_not_toml_is_a_message(text: str) -> None:
    with pytest.raises(InputError, match=r"^mine\.toml: not valid TOML: "):
        parse(text, "mine.toml")


def test_toml_values_that_json_lacks_are_named() -> None:
    text = "name = 'a'\n[[steps]]\nmethod = 'pruning.heads'\nfraction = 2020-01-01"
    assert tomllib.loads(text)
    with pytest.raises(FaultsError, match=r"steps\[0\]\.fraction: got datetime\.date"):
        parse(text)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [9, 500, 100_000])
def test_deep_nesting_is_a_message(depth: int) -> None:
    deep = nested(depth)
    for raw in (
        deep,
        {"name": deep},
        {"name": "a", "description": deep},
        {"name": "a", "steps": deep},
        {"name": "a", "other": deep},
        one_step(deep),
        one_step("pruning.heads", fraction=deep),
        one_step("pruning.heads", other=deep),
    ):
        with pytest.raises(FaultsError):
            validate(raw)
    while isinstance(deep, list):  # else freeing it would recurse
        deep = deep.pop()


def anything(rng: random.Random, depth: int = 0) -> Any:
    """A random value: often a word or number that has a meaning somewhere, seldom a fitting one."""
    words = [*methods(), "name", "steps", "method", "fraction", "widths", "a", "../x", "\ud800", ""]
    numbers = [0, 1, -1, 3, 2.0, 0.5, True, False, None, HUGE, float("nan"), float("inf"), 1e-320]
    kind = rng.randrange(5 if depth < 4 else 2)
    if kind < 2:
        return rng.choice([*words, *numbers])
    if kind == 2:
        return [anything(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(words): anything(rng, depth + 1) for _ in range(rng.randrange(5))}


def almost(rng: random.Random) -> Any:
    """A valid recipe in which a few values have been replaced."""
    steps: list[Any] = [
        {"method": name, **validate(one_step(name)).steps[0].parameters}
        for name in rng.sample(methods(), rng.randint(1, 3))
    ]
    raw: dict[str, Any] = {"name": "a", "description": "b", "steps": steps}
    for _ in range(rng.randrange(3)):
        place = rng.choice([raw, *steps])
        place[rng.choice([*place, "other"])] = anything(rng, 2)
    return raw


@pytest.mark.parametrize("seed", range(4))
def test_no_value_gives_anything_but_a_recipe_or_its_faults(seed: int) -> None:
    rng = random.Random(seed)
    valid = 0
    for _ in range(300):
        raw = rng.choice([anything, almost])(rng)
        try:
            made = validate(raw, architecture=rng.choice([None, "bert", "\ud800"]))
        except FaultsError as error:
            str(error).encode()
            continue
        valid += 1
        assert validate(made.to_dict()) == made
        json.dumps(made.to_dict(), allow_nan=False)
    assert valid > 10
