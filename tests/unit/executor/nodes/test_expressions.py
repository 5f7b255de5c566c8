"""Facts about expressions: what they give, what they refuse, and how they say so."""

from collections.abc import Iterator, Mapping
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weftline_executor.nodes.config import compile_config
from weftline_executor.nodes.errors import ExpressionFailed
from weftline_executor.nodes.expressions import MAX_SOURCE, compile_bare, compile_text
from weftline_executor.nodes.scope import Scope

MANY = {"many": list(range(100_000)), "as_many": list(range(100_000))}
SCOPE = Scope(
    nodes={"a": {"output": {"x": 7, "items": [1, 2], "big": "z" * 600_000}}, "my-id": {"output": "mine"}},
    inputs={"input": {"name": "Ada"}},
    params={"n": 3, "zip": "007", "keys": "k", "none": None, "_id": 9, "tags": ["a", "b"], **MANY},
)


def value_of(source: str, scope: Scope = SCOPE) -> object:
    return compile_text(source).render(scope)


def refusal(source: str, scope: Scope = SCOPE) -> ExpressionFailed:
    with pytest.raises(ExpressionFailed) as caught:
        value_of(source, scope)
    return caught.value


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ nodes.a.output.x }}", 7),
        ("{{ nodes.a.output.x / 2 }}", 3.5),
        ("{{ nodes.a.output.x > 5 and params.n == 3 }}", True),
        ("{{ params.none }}", None),
        ("{{ [params.n, {'k': inputs.input.name}] }}", [3, {"k": "Ada"}]),
        ("{{ params.tags | map('upper') }}", ["A", "B"]),
        ("{{ params.tags | reverse }}", ["b", "a"]),
        ("{{ params.n if params.n > 2 else 0 }}", 3),
        ("{{ 'x' * 3 }}", "xxx"),
        ("{{ 7 % 4 + 1.5 | round }}", 5),
        ("{{ 2.345 | round(1) }}", 2.3),
        ("{{ inputs.input.items() }}", [["name", "Ada"]]),
        ("{{ '[1]' | fromjson }}", [1]),
        ("{{ params.tags[1:] }}", ["b"]),
        ("{{ params.zip[::-1] }}", "700"),
        ("{{ [1, 2.5] | sum }}", 3.5),
        ("{{ 'a' in params.tags }}", True),
        ("{{ params.tags | first | upper | default('x') }}", "A"),
    ],
)
def test_a_whole_expression_keeps_its_type(source: str, expected: object) -> None:
    value = value_of(source)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("n={{ params.n }}", "n=3"),
        ("{{ params.zip }}{{ params.zip }}", "007007"),
        (" {{ params.zip }}", " 007"),
        ("{{ params.none }}, {{ true }}, {{ {'a': [1]} }}", 'null, true, {"a":[1]}'),
        ("{{ params.n ~ '-' ~ params.tags }}", '3-["a","b"]'),
        ("{{ params.tags | join(', ') }}!", "a, b!"),
        ("{{ '{{' }} {# stays #} {{ params.n }}\n", "{{ {# stays #} 3\n"),
        ("{{ params.zip | replace('0', 'o') }}.", "oo7."),
    ],
)
def test_mixed_text_is_text_and_never_read_as_python(source: str, expected: str) -> None:
    assert value_of(source) == expected


def test_a_key_wins_over_a_method_of_the_same_name() -> None:
    assert value_of("{{ nodes.a.output.items }}") == [1, 2]
    assert value_of("{{ params.keys }}") == "k"


def test_a_node_whose_id_is_no_identifier_is_named_in_brackets() -> None:
    template = compile_text('{{ nodes["my-id"].output }} and {{ nodes.a.output.x }} and {{ nodes.a }}')
    assert template.node_ids == ("my-id", "a")
    assert value_of('{{ nodes["my-id"].output }}') == "mine"


def test_a_key_with_an_underscore_is_read_in_brackets() -> None:
    assert value_of('{{ params["_id"] }}') == 9


def test_what_is_missing_may_get_a_default_at_any_depth() -> None:
    assert value_of("{{ nodes.b.output.x.y | default('none') }}") == "none"
    assert value_of("{{ params.nope is defined }}") is False


def test_what_an_expression_gives_is_a_copy() -> None:
    inner: list[object] = [1]
    scope = Scope(params={"list": inner})
    value = compile_text("{{ params.list }}").render(scope)
    assert isinstance(value, list)
    value.append(2)
    assert inner == [1]


def test_only_what_is_named_is_looked_up_in_lazy_mappings() -> None:
    asked: list[str] = []

    class Lazy(Mapping[str, object]):
        def __getitem__(self, key: str) -> object:
            asked.append(key)
            return {"output": 1}

        def __iter__(self) -> Iterator[str]:
            raise AssertionError("nothing needs all the nodes")

        def __len__(self) -> int:
            raise AssertionError("nothing needs all the nodes")

    assert compile_text("{{ nodes.a.output }}").render(Scope(nodes=Lazy())) == 1
    assert asked == ["a"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ nodes.a.output.y }}", "the object has no key 'y'"),
        ("{{ nodes.a.output.item }}", "did you mean 'items'?"),
        ("{{ nodes.a.output.x.y }}", "a number has no 'y'"),
        ("{{ params.none.x }}", "null has no 'x'"),
        ("{{ params.nope.upper() }}", "the object has no key 'nope'"),
        ("{{ params.nope + 1 }}", "the object has no key 'nope'"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ params.n + params.zip }}", "unsupported operand"),
        ("{{ params.zip.upper }}", "put () after its name"),
        ("{{ 1e308 * 10 }}", "cannot be held by JSON"),
        ("{{ {1: 2} }}", "the key 1 of an object is not a string"),
    ],
)
def test_a_value_that_cannot_be_had_is_explained(source: str, reason: str) -> None:
    error = refusal(source)
    assert reason in error.reason
    assert source in str(error)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ foo }}", "there are nodes, inputs, params and run"),
        ("{{ node.a }}", "did you mean nodes?"),
        ("{{ nodes[params.n] }}", "a node is named in the expression itself"),
        ("{{ nodes }}", "nodes is not a value by itself"),
        ("{{ nodes | length }}", "nodes is not a value by itself"),
        ("{{ params.n + }}", "unexpected '}}'"),
        ("{{ params.n", "unexpected end of template"),
        ("{{ params.n | nope }}", "there is no filter 'nope'"),
        ("{{ params.n | uper }}", "did you mean 'upper'?"),
        ("{{ params.n is nice }}", "there is no test 'nice'"),
        ("{{ 1" + " + 1" * 100 + " }}", "nested too deeply"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "nested too deeply"),
        ("{{ '" + "x" * MAX_SOURCE + "' }}", f"longer than {MAX_SOURCE}"),
    ],
)
def test_what_is_not_an_expression_is_refused_when_it_is_compiled(source: str, reason: str) -> None:
    with pytest.raises(ExpressionFailed) as caught:
        compile_text(source)
    assert reason in caught.value.reason


ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ (1).__class__.__mro__ }}",
    "{{ ''['__class__'] }}",
    "{{ params['__class__'] }}",
    "{{ params.keys.__self__ }}",
    "{{ [''] | map(attribute='__class__') | list }}",
    "{{ '' | attr('__class__') }}",
    "{{ '{0.__class__}'.format('') }}",
    "{{ '{0.__class__}' | format('') }}",
    "{{ '{0.__class__}'.format_map({}) }}",
    "{{ ''.upper.__globals__ }}",
    "{{ self }}",
    "{{ self._TemplateReference__context }}",
    "{{ lipsum() }}",
    "{{ cycler.__init__ }}",
    "{{ namespace() }}",
    "{{ range(10) }}",
    "{{ dict(a=1) }}",
    "{{ params.tags.append(1) }}",
    "{{ params.tags.pop() }}",
    "{{ inputs.update({}) }}",
    "{{ 'a'.encode() }}",
    "{{ (params.n)() }}",
    "{% for x in [1] %}{{ x }}{% endfor %}",
    "{% set x = 1 %}{{ x }}",
    "\0{% set x = 1 %}\0{{ params.n }}",
    "{{ params.n }}{% include 'x' %}",
    "{{ super() }}",
    "{{ caller() }}",
    "{{ '<b>' | safe }}",
    "{{ params.n | random }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_there_is_no_way_out_of_the_sandbox(source: str) -> None:
    assert refusal(source).code == "bad_expression"


BLOW_UPS = [
    "{{ 'x' * 1000000000 }}",
    "{{ 1000000000 * 'x' }}",
    "{{ 'x' * 1000000 * 1000000 }}",
    "{{ [0] * 1000000000 }}",
    "{{ 9 ** 999999999 }}",
    "{{ " + " * ".join(["999999999999"] * 70) + " }}",
    "{{ '%1000000000d' % 5 }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ 'x'.ljust(1000000000) }}",
    "{{ 'x'.zfill(1000000000) }}",
    "{{ 'x'.center(1000000000) }}",
    "{{ 'x' | center(1000000000) }}",
    "{{ 'x\tx'.expandtabs(1000000000) }}",
    "{{ 'x' | indent(1000000000) }}",
    "{{ 'x'.replace('x', 'y') }}",
    "{{ nodes.a.output.big | replace('z', 'z' * 10000) }}",
    "{{ nodes.a.output.big | replace('', 'zzzz') }}",
    "{{ nodes.a.output.big | list | join('z' * 10000) }}",
    "{{ nodes.a.output.big + nodes.a.output.big }}",
    "{{ nodes.a.output.big ~ nodes.a.output.big }}",
    "{{ [nodes.a.output.big, nodes.a.output.big] }}",
    "{{ [nodes.a.output.big, nodes.a.output.big] | string }}",
    "{{ [nodes.a.output.big, nodes.a.output.big] | tojson }}",
    "{{ nodes.a.output.big }}{{ nodes.a.output.big }}",
    "{{ nodes.a.output.big | list | map('join', nodes.a.output.big) | list | length }}",
    "{{ nodes.a.output.big | list | map('replace', 'z', nodes.a.output.big) | list | length }}",
    "{{ nodes.a.output.big | list | map('d', nodes.a.output.big, true) | map('upper') | list | length }}",
    "{{ nodes.a.output.big | list | select('in', nodes.a.output.big | list) | list | length }}",
    "{{ [" + ", ".join(["nodes.a.output.big[1:]"] * 300) + "] | length }}",
    "{{ [" + ", ".join(["nodes.a.output.big.split('z')"] * 250) + "] | length }}",
    "{{ nodes.a.output.big | list" + " | map('length') | map('d')" * 30 + " | list | length }}",
    "{{ nodes.a.output.big | list" + " | reject('none')" * 60 + " | list | length }}",
    "{{ [" + ", ".join(["nodes.a.output.big | list | min"] * 200) + "] }}",
    "{{ [" + ", ".join(["params.many.count(1)"] * 20) + "] }}",
    "{{ [" + ", ".join(["params.many.index(99999)"] * 20) + "] }}",
    "{{ [" + ", ".join(["nodes.a.output.big.count('q')"] * 20) + "] }}",
    "{{ [" + ", ".join(["(params.many == params.as_many)"] * 20) + "] }}",
    "{{ [" + ", ".join(["(params.many < params.as_many)"] * 20) + "] }}",
    "{{ [" + ", ".join(["([1] in params.many)"] * 20) + "] }}",
    "{{ [" + ", ".join(["(-1 not in params.many)"] * 20) + "] }}",
    "{{ [" + ", ".join(["('q' in nodes.a.output.big)"] * 20) + "] }}",
    "{{ [" + ", ".join(["params.many is eq(params.as_many)"] * 20) + "] }}",
    "{{ [" + ", ".join(["nodes.a.output.big is lower"] * 20) + "] }}",
    "{{ params.many | map('d', nodes.a.output.big) | select('eq', nodes.a.output.big) | list | length }}",
    "{{ params.many | map('d', 0) | map(attribute='" + "a." * 100 + "a') | list | length }}",
    "{{ [" + ", ".join(["params.many | sort(attribute='" + "a." * 50 + "a') | length"] * 20) + "] }}",
    "{{ [[1], [2]] | sum([]) }}",
    "{{ 1.5 | round(1000000000) }}",
    "{{ 1 | round(1000000000, 'ceil') }}",
    "{{ [1] | batch(1000000000, 0) | list }}",
    "{{ params.n.to_bytes(1000000000) }}",
]


@pytest.mark.parametrize("source", BLOW_UPS)
def test_nothing_small_becomes_something_huge(source: str) -> None:
    reason = refusal(source).reason
    assert "longer than" not in reason
    assert "nested" not in reason


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ 1 < 2 <= 2 }}", True),
        ("{{ 1 < 2 > 2 }}", False),
        ("{{ 3 >= 3 != 4 }}", True),
        ("{{ 'b' not in params.tags }}", False),
        ("{{ 'name' in inputs.input and 'ad' in 'Ada' | lower }}", True),
        ("{{ 'A' in params.tags | map('upper') }}", True),
        ("{{ [[1], 2] == [[1], 2] and {'a': [1]} == {'a': [1]} }}", True),
        ("{{ 1 == '1' or none == 0 }}", False),
        ("{{ params.tags | select('ne', 'a') | list }}", ["b"]),
        ("{{ [3, 1, 2] | select('>=', 2) | sort }}", [2, 3]),
        ("{{ 2 is eq 2 and 1 is lessthan(2) and params.n is odd }}", True),
        ("{{ params.many | sort | last }}", 99_999),
        ("{{ 5 in params.many and params.many == params.as_many }}", True),
        ("{{ params.many | length + params.many.index(7) }}", 100_007),
    ],
)
def test_comparisons_hold_as_they_are_read(source: str, expected: object) -> None:
    value = value_of(source)
    assert value == expected
    assert type(value) is type(expected)


def test_a_comparison_with_what_is_missing_says_so() -> None:
    assert "the object has no key 'nope'" in refusal("{{ params.nope == 1 }}").reason
    assert "the object has no key 'nope'" in refusal("{{ 1 in params.nope }}").reason


def test_a_comparison_ends_where_it_is_decided() -> None:
    assert "not supported between" in refusal("{{ 1 < 2 < 'x' }}").reason
    assert value_of("{{ 2 < 1 < 'x' }}") is False


@pytest.mark.parametrize(
    "source",
    ["{{ params.many | map('string') | list | length }}", "{{ params.many }}", "{{ params.many == params.as_many }}"],
)
def test_the_expressions_of_a_node_share_what_they_may_do(source: str) -> None:
    one = compile_config({"k0": "{{ params.many | length }}"}, frozenset())
    assert one.render(SCOPE) == {"k0": 100_000}
    many = compile_config({"values": [{"k": source} for _ in range(20)]}, frozenset())
    with pytest.raises(ExpressionFailed, match="take too long together"):
        many.render(SCOPE)


def test_each_evaluation_of_a_node_begins_anew() -> None:
    compiled = compile_config({"k": "{{ params.many == params.as_many }}"}, frozenset())
    assert [compiled.render(SCOPE) for _ in range(20)] == [{"k": True}] * 20


def test_a_node_may_have_a_thousand_small_expressions() -> None:
    compiled = compile_config({"k": ["{{ params.tags | first | upper }}"] * 1000}, frozenset())
    assert compiled.render(SCOPE) == {"k": ["A"] * 1000}


def test_a_bare_expression_needs_no_braces() -> None:
    template = compile_bare("nodes.a.output.x > 5")
    assert template.render(SCOPE) is True
    assert template.node_ids == ("a",)


@pytest.mark.parametrize("source", ["", "params.n params.n", "gold", "params.n }}", "1 +"])
def test_a_bare_text_that_is_no_expression_is_refused(source: str) -> None:
    with pytest.raises(ExpressionFailed):
        compile_bare(source)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_any_json_value_comes_through_an_expression_unchanged(value: object) -> None:
    assert value_of("{{ params.value }}", Scope(params={"value": value})) == value


@given(st.text(max_size=200))
def test_no_text_breaks_the_compiler(source: str) -> None:
    for compile_ in (compile_text, compile_bare):
        with suppress(ExpressionFailed):
            compile_(source)


@pytest.mark.parametrize(
    ("source", "handles"),
    [
        ("{{ inputs.left }} and {{ inputs['right side'].name | upper }}", ("left", "right side")),
        ("{{ inputs.left.lower() ~ inputs.left }}", ("left",)),
        ("{{ inputs.left | default('none') }}{{ inputs.right is defined }}", ()),
        ("{{ inputs.get('left') }}{{ inputs | length }}{{ params.left }}", ()),
    ],
)
def test_the_inputs_that_an_expression_cannot_do_without_are_known(source: str, handles: tuple[str, ...]) -> None:
    assert compile_text(source).handles == handles
