"""Recipes are checked in full: every fault by its field, its value and what was expected."""

from __future__ import annotations

import json
from typing import Any

import pytest

from paretext_models import recipe
from paretext_models.errors import FaultsError
from paretext_models.recipe import about, methods, parse, validate

HUGE = 10**400


def one_step(method: Any, **parameters: Any) -> dict[str, Any]:
    return {"name": "a", "steps": [{"method": method, **parameters}]}


def in_order(*names: str) -> dict[str, Any]:
    return {"name": "a", "steps": [{"method": name} for name in names]}


def faults(raw: Any, **options: Any) -> list[tuple[str, Any, str]]:
    with pytest.raises(FaultsError) as raised:
        validate(raw, **options)
    return [(fault.field, fault.value, fault.expected) for fault in raised.value.faults]


# Recipes that are right


def test_a_recipe_in_toml_gets_every_default() -> None:
    made = parse(
        """
        name = "half"
        description = "Half of all heads."
        [[steps]]
        method = "pruning.heads"
        rounds = 1
        [[steps]]
        method = "quantization.dynamic"
        """
    )
    assert (made.name, made.description) == ("half", "Half of all heads.")
    assert [step.method for step in made.steps] == ["pruning.heads", "quantization.dynamic"]
    heads, dynamic = (step.parameters for step in made.steps)
    assert heads == {"fraction": 0.5, "scope": "global", "rounds": 1, "recovery_epochs": 1}
    assert dynamic == {"per_channel": True, "reduce_range": False}


@pytest.mark.parametrize("raw", [{"name": "fp32"}, {"name": "fp32", "steps": []}])
def test_no_steps_are_the_teacher_itself(raw: dict[str, Any]) -> None:
    assert validate(raw).steps == ()


@pytest.mark.parametrize("method", methods())
def test_every_method_works_with_its_defaults_on_what_it_takes(method: str) -> None:
    facts = about(method)
    if facts["needs"] in ("transformer", "any"):
        for architecture in facts["architectures"]:
            assert validate(one_step(method), architecture=architecture).steps[0].method == method


@pytest.mark.parametrize("method", methods())
def test_what_was_validated_is_valid_again_and_survives_json(method: str) -> None:
    made = validate(one_step(method))
    assert validate(json.loads(json.dumps(made.to_dict()))) == made


def test_equal_numbers_make_equal_recipes() -> None:
    whole = validate(one_step("distillation.cnn", temperature=2, copies=3.0, widths=[1.0, 3]))
    plain = validate(one_step("distillation.cnn", temperature=2.0, copies=3, widths=[1, 3]))
    assert repr(whole) == repr(plain)


def test_changing_a_recipe_does_not_change_the_defaults() -> None:
    validate(one_step("distillation.cnn")).steps[0].parameters["widths"].append(99)
    assert validate(one_step("distillation.cnn")).steps[0].parameters["widths"] == [1, 3, 5]


# Faults of one value


@pytest.mark.parametrize(
    ("parameters", "field", "value", "expected"),
    [
        ({"fraction": 1}, "fraction", 1, "a number above 0 and below 1"),
        ({"fraction": 0}, "fraction", 0, "a number above 0 and below 1"),
        ({"fraction": "0.5"}, "fraction", "0.5", "a number above 0 and below 1"),
        ({"fraction": True}, "fraction", True, "a number above 0 and below 1"),
        ({"fraction": None}, "fraction", None, "a number above 0 and below 1"),
        ({"fraction": -float("inf")}, "fraction", -float("inf"), "a finite number"),
        ({"fraction": HUGE}, "fraction", "2**1328 or more", "a number of 64 bits at most"),
        ({"rounds": -(10**5000)}, "rounds", "-2**16609 or more", "a number of 64 bits at most"),
        ({"rounds": 65}, "rounds", 65, "a whole number at least 1 and at most 64"),
        ({"rounds": 2.5}, "rounds", 2.5, "a whole number at least 1 and at most 64"),
        ({"rounds": True}, "rounds", True, "a whole number at least 1 and at most 64"),
        ({"scope": "heads"}, "scope", "heads", "one of global, layer"),
        ({"scope": ["layer"]}, "scope", ["layer"], "one of global, layer"),
        ({"speed": 9}, "speed", 9, "one of fraction, scope, rounds, recovery_epochs"),
        ({"a\nb": 9}, r"'a\nb'", 9, "one of fraction, scope, rounds, recovery_epochs"),
        ({"\ud800": 9}, r"'\ud800'", 9, "one of fraction, scope, rounds, recovery_epochs"),
    ],
)
def test_a_wrong_parameter_is_named(
    parameters: dict[str, Any], field: str, value: Any, expected: str
) -> None:
    found = faults(one_step("pruning.heads", **parameters))
    assert found == [(f"steps[0].{field}", value, expected)]


def test_not_a_number_is_no_number() -> None:
    ((field, _, expected),) = faults(one_step("pruning.heads", fraction=float("nan")))
    assert (field, expected) == ("steps[0].fraction", "a finite number")
    with pytest.raises(FaultsError, match=r"widths\[1\]: got nan, expected a finite number"):
        validate(one_step("distillation.cnn", widths=[1, float("nan")]))


@pytest.mark.parametrize("given", [1, "yes", None])
def test_a_switch_is_true_or_false(given: Any) -> None:
    found = faults(one_step("quantization.dynamic", per_channel=given))
    assert found == [("steps[0].per_channel", given, "true or false")]


def test_lists_are_checked_value_by_value() -> None:
    odd = "one of 1, 3, 5, 7, 9, 11, 13, 15"
    found = faults(one_step("distillation.cnn", widths=[3, 2, "x", True]))
    assert found == [(f"steps[0].widths[{i}]", v, odd) for i, v in ((1, 2), (2, "x"), (3, True))]
    for wrong in ([], [1] * 9, 3, {"1": 1}):
        found = faults(one_step("distillation.cnn", widths=wrong))
        assert found == [("steps[0].widths", wrong, f"a list of 1 to 8 values, each {odd}")]


@pytest.mark.parametrize(
    "method", ["pruning.head", "", None, 3, ["pruning.heads"], {"a": 1}, "../heads", "os.system"]
)
def test_an_unknown_method_lists_those_there_are(method: Any) -> None:
    assert faults(one_step(method)) == [
        ("steps[0].method", method, f"one of {', '.join(methods())}")
    ]


@pytest.mark.parametrize("step", ["pruning.heads", None, ["pruning.heads"], 3])
def test_a_step_is_a_table(step: Any) -> None:
    assert faults({"name": "a", "steps": [step]}) == [("steps[0]", step, "a table with a method")]


@pytest.mark.parametrize("steps", [{"method": "pruning.heads"}, "pruning.heads", 3, None])
def test_steps_are_a_list(steps: Any) -> None:
    assert faults({"name": "a", "steps": steps}) == [("steps", steps, "a list of steps")]


@pytest.mark.parametrize(
    "name", ["..", "../a", "a/b", "/a", "Int8", "", "a b", ".a", "a\n", "x" * 65, "é", 8, None, []]
)
def test_a_name_can_be_a_folder_and_nothing_else(name: Any) -> None:
    ((field, value, expected),) = faults({"name": name})
    assert (field, value) == ("name", name)
    assert expected.startswith("a name matching [a-z0-9]")


def test_a_variant_cannot_take_the_place_of_the_models_pointer() -> None:
    ((field, value, _),) = faults({"name": "model.json"})
    assert (field, value) == ("name", "model.json")


@pytest.mark.parametrize("description", [3, None, ["x"], "a\nb", "a\n", "\ud800", "x" * 501])
def test_a_description_is_a_line(description: Any) -> None:
    ((field, _, expected),) = faults({"name": "a", "description": description})
    assert (field, expected) == ("description", "one line of at most 500 characters")


@pytest.mark.parametrize("raw", [None, [], "name = 'a'", 3, [{"name": "a"}]])
def test_a_recipe_is_a_table(raw: Any) -> None:
    assert faults(raw) == [("recipe", raw, "a table of name, description, steps")]


def test_a_long_value_is_cut() -> None:
    ((_, value, _),) = faults({"name": "x" * 100_000})
    assert len(value) < 100


# Faults of the whole


def test_all_faults_are_named_at_once() -> None:
    raw = {
        "name": "A",
        "color": "red",
        "steps": [
            {"method": "pruning.heads", "fraction": 2, "x": 1, "y": 2},
            {"method": "pruning.tails"},
            {"method": "quantization.dynamic", "per_channel": float("nan")},
        ],
    }
    assert [field for field, _, _ in faults(raw, where="mine.toml")] == [
        "color",
        "name",
        "steps[0].x",
        "steps[0].y",
        "steps[0].fraction",
        "steps[1].method",
        "steps[2].per_channel",
    ]
    with pytest.raises(
        FaultsError, match=r"^mine\.toml:\n  color: got 'red', expected one of name"
    ):
        validate(raw, where="mine.toml")


def test_a_method_stands_once() -> None:
    found = faults(in_order("pruning.heads", "quantization.dynamic", "pruning.heads"))
    assert found == [("steps[2].method", "pruning.heads", "each method once")]
    found = faults(in_order("quantization.dynamic", "quantization.dynamic"))
    assert found == [("steps[1].method", "quantization.dynamic", "each method once")]


def test_a_step_that_cannot_take_what_is_there_is_refused_by_name() -> None:
    ((field, value, expected),) = faults(in_order("distillation.cnn", "pruning.heads"))
    assert (field, value) == ("steps[1].method", "pruning.heads")
    assert "takes the cnn that distillation.cnn makes: " in expected
    assert "quantization.dynamic" in expected
    assert "pruning" not in expected
    made = validate(in_order("pruning.heads", "distillation.cnn", "quantization.dynamic"))
    assert len(made.steps) == 3


def test_two_arithmetic_steps_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    definitions = recipe.schema()["$defs"]
    other = {**definitions, "quantization.other": definitions["quantization.dynamic"]}
    monkeypatch.setattr(recipe, "schema", lambda: {"$defs": other})
    assert faults(in_order("quantization.other", "quantization.dynamic")) == [
        (
            "steps[1].method",
            "quantization.dynamic",
            "one arithmetic step; quantization.other is one",
        )
    ]


def test_an_architecture_that_a_method_cannot_handle_is_named() -> None:
    expected = "one of bert, roberta, distilbert, for pruning.heads"
    assert faults(one_step("pruning.heads"), architecture="gpt2") == [
        ("architecture", "gpt2", expected)
    ]
    assert validate(one_step("pruning.heads"), architecture="roberta")
    # What follows a student works on the student, whatever its teacher was.
    found = faults(in_order("distillation.cnn", "quantization.dynamic"), architecture="gpt2")
    assert [expected.partition(", for ")[2] for _, _, expected in found] == ["distillation.cnn"]


def test_a_parameter_without_a_default_must_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}
    definition = {"properties": {"method": {"const": "a.b"}, "size": wanted}}
    facts: dict[str, Any] = {
        "needs": "any",
        "makes": None,
        "graph_phase": None,
        "architectures": [],
    }
    content = {"$defs": {"a.b": {**definition, recipe.ABOUT: facts}}}
    monkeypatch.setattr(recipe, "schema", lambda: content)
    expected = "a whole number at least 1 or nothing"
    assert faults(one_step("a.b")) == [("steps[0].size", None, expected)]
    assert faults(one_step("a.b", size=0)) == [("steps[0].size", 0, expected)]
    assert validate(one_step("a.b", size=None)).steps[0].parameters == {"size": None}
