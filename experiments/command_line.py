"""Settings from the command line and from `config.json`, and errors as one message."""

import contextlib
import dataclasses
import io
import sys
import typing
from collections.abc import Iterator
from typing import Any

import tyro

from jaxgen.training.output import outlive_readers

INTERRUPTED = 130
"""As of a shell's command that Ctrl-C ended: what follows it is not to begin."""


def parse(settings_class: Any, module: str, doc: str | None, *, default: Any = None) -> Any:
    """Reads settings from the command line; on errors it prints them and exits with 2.

    Args:
        settings_class: dataclass of the settings.
        module: name of the script, as ``python -m`` takes it.
        doc: the script's docstring, whose first paragraph heads the help.
        default: what is not on the command line; by default the defaults of the dataclass.

    Returns:
        The settings.
    """
    for stream in (sys.stdout, sys.stderr):
        # Names of files and classes may hold bytes that are no UTF-8.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    outlive_readers()
    return tyro.cli(
        settings_class,
        prog=f"python -m {module}",
        description=(doc or "").partition("\n\n")[0],
        default=tyro.MISSING_NONPROP if default is None else default,
        config=(tyro.conf.OmitArgPrefixes,),
    )


def peek(name: str) -> str | None:
    """Reads one setting before the others, which may depend on it; None if it is not there."""
    kind = dataclasses.make_dataclass("_Peeked", [(name, str | None, None)])
    known: Any
    try:
        known, _ = tyro.cli(kind, add_help=False, console_outputs=False, return_unknown_args=True)
    except SystemExit:  # A flag without a value, which `parse` will say.
        return None
    return getattr(known, name)


def from_json(cls: Any, values: dict[str, Any]) -> Any:
    """Builds a settings dataclass from what `dataclasses.asdict` and JSON made of it.

    Args:
        cls: the dataclass, or a generic one with its arguments.
        values: as JSON has them.

    Returns:
        The settings.

    Raises:
        ValueError: if a setting is missing or unknown.
    """
    plain = typing.get_origin(cls) or cls
    arguments = dict(zip(getattr(plain, "__parameters__", ()), typing.get_args(cls), strict=True))
    hints = typing.get_type_hints(plain)
    fields = {field.name for field in dataclasses.fields(plain)}
    if fields != set(values):
        raise ValueError(
            f"the run's settings do not fit this version of {plain.__name__}: "
            f"missing {sorted(fields - set(values))}, unknown {sorted(set(values) - fields)}"
        )
    return plain(
        **{
            name: _value(arguments.get(hints[name], hints[name]), value)
            for name, value in values.items()
        }
    )


def _value(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value)
    return tuple(value) if isinstance(value, list) else value


@contextlib.contextmanager
def interruption_exits(words: str) -> Iterator[None]:
    """On Ctrl-C, says what is kept or how to go on, and exits with 130."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\ninterrupted; {words}", file=sys.stderr)
        sys.exit(INTERRUPTED)


@contextlib.contextmanager
def errors_exit(code: int, *kinds: type[Exception]) -> Iterator[None]:
    """Turns errors that the user can mend into one message and an exit code."""
    try:
        yield
    except kinds as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(code)
