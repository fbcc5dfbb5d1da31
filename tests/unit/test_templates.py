"""Templates in ``files/``: no value breaks a document, and Datadog's own placeholders stay."""

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from components import templates

ANY = st.text(st.characters(codec="utf-8"), max_size=20) | st.text(
    st.sampled_from("\"'\\{}[]:,#&*!|>%@`$ \n\t-abé🐶"), max_size=20
)
DOCUMENT = {
    "whole": "${one}",
    "part": "a ${one}, b ${two}.",
    "list": ["${two}", {"deep": "${one}${one}"}],
    "theirs": "avg:m{$host,$env} {{value}} $ $$ $${two} ${ ${} {one} $one",
    "number": 1.5,
    "true": True,
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(templates, "FILES", tmp_path)
    return tmp_path


def filled(one: Any, two: Any) -> dict[str, Any]:
    return {
        "whole": one,
        "part": f"a {one}, b {two}.",
        "list": [two, {"deep": f"{one}{one}"}],
        "theirs": f"avg:m{{$host,$env}} {{{{value}}}} $ $$ ${two} ${{ ${{}} {{one}} $one",
        "number": 1.5,
        "true": True,
    }


@pytest.mark.parametrize(
    ("make", "read", "write"),
    [(templates.json_file, json.loads, json.dumps), (templates.yaml_file, yaml.safe_load, yaml.safe_dump)],
    ids=["JSON", "YAML"],
)
def test_any_value_stays_a_value(make: Any, read: Any, write: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("files")
    (folder / "document").write_text(write(DOCUMENT))

    @given(one=ANY, two=ANY)
    @example(one='", "x": "', two="\n- x: y")
    @example(one="${two}", two="${one}")
    @example(one="null", two="yes")
    def check(one: str, two: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(templates, "FILES", folder)
            assert read(make("document", {"one": one, "two": two})) == filled(one, two)

    check()


@given(value=st.integers() | st.booleans() | st.floats(allow_nan=False) | st.lists(ANY, max_size=3))
def test_a_placeholder_alone_keeps_the_type_of_its_value(value: object) -> None:
    assert templates.fill({"a": "${x}"}, {"x": value}) == {"a": value}


def test_an_entry_without_a_value_is_left_out() -> None:
    assert templates.fill({"a": "${x}", "b": 1}, {"x": None}) == {"b": 1}


def test_text_is_filled_in_and_everything_else_is_left(files: Path) -> None:
    (files / "a.md").write_text("${one} $one $$ {{value}} {{#is_alert}} ${two}\n")
    assert templates.text_file("a.md", {"one": "${two}", "two": "$1"}) == "${two} $one $$ {{value}} {{#is_alert}} $1\n"


@pytest.mark.parametrize("content", ['{"a": }', "", '{"a": 1,}', "[1, 2", "{'a': 1}"])
def test_a_dashboard_that_is_not_json_is_told_in_one_sentence_naming_the_file(files: Path, content: str) -> None:
    (files / "board.json").write_text(content)
    with pytest.raises(
        pulumi.RunError, match=r"^files/board.json is not valid JSON: .* line 1 column \d+ .*$"
    ) as error:
        templates.json_file("board.json", {})
    assert "\n" not in str(error.value)


def test_yaml_that_cannot_be_read_names_its_file(files: Path) -> None:
    (files / "conf.yaml").write_text("a: [1")
    with pytest.raises(pulumi.RunError, match=r"^files/conf.yaml is not valid YAML: "):
        templates.yaml_file("conf.yaml", {})


@pytest.mark.parametrize(
    ("make", "content"),
    [
        (templates.json_file, '{"a": "${nobody}"}'),
        (templates.yaml_file, "a: x${nobody}\n"),
        (templates.text_file, "${nobody}"),
    ],
)
def test_a_placeholder_that_nobody_fills_is_told_by_name(files: Path, make: Any, content: str) -> None:
    (files / "document").write_text(content)
    with pytest.raises(pulumi.RunError, match=r"^files/document names \$\{nobody\}, which has no value$"):
        make("document", {"one": 1})
