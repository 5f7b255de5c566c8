"""Facts about the environment variables that programs of nodes are given."""

from weftline_executor.nodes import passed_on

ALL = {
    "PATH": "/bin",
    "LC_ALL": "C",
    "PYTHONPATH": "lib",
    "AWS_REGION": "north",
    "AWS_KEY": "k",
    "OPENAI_API_KEY": "s",
    "WEFTLINE_SECRET_TOKEN": "s",
    "WEFTLINE_EXECUTOR_LISTEN": "x",
}


def test_only_what_programs_cannot_do_without_is_passed_on() -> None:
    assert passed_on(ALL) == {"PATH": "/bin", "LC_ALL": "C", "PYTHONPATH": "lib"}


def test_more_can_be_named_with_patterns() -> None:
    assert passed_on(ALL, ["AWS_*"]).keys() - passed_on(ALL).keys() == {"AWS_REGION", "AWS_KEY"}


def test_what_is_weftlines_own_is_never_passed_on() -> None:
    assert not [name for name in passed_on(ALL, ["*", "WEFTLINE_SECRET_TOKEN"]) if name.startswith("WEFTLINE_")]
