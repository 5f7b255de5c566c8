"""Runs the command line: the `weftline` script and `python -m weftline_cli`."""

from weftline_cli.cli import cli


def main() -> None:
    """Run the command line with the arguments of this process, and end the process with its exit code."""
    cli(prog_name="weftline")


if __name__ == "__main__":
    main()
