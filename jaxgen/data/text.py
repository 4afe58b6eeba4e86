"""Words for people: names of files that any terminal can show, and counts."""

from collections.abc import Sequence


def printable(text: str) -> str:
    r"""Escapes what cannot be shown on a line: control characters, and bytes that are not UTF-8.

    Args:
        text: as the file system gives it, where undecodable bytes are lone surrogates.

    Returns:
        The text with each such character as `\xNN`, `\n`, `\udcNN`; any other text as it is.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def counted(num: int, noun: str) -> str:
    """A number and its noun: `1 file`, `12,000 files`.

    Args:
        num: the number, at least 0.
        noun: in the singular.

    Returns:
        The words.
    """
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{num:,} {noun if num == 1 else plural}"


def listed(names: Sequence[str], *, most: int = 3) -> str:
    """The first of some names, printable, and how many more there are.

    Args:
        names: at least one.
        most: how many to write out, at least 1.

    Returns:
        As in `a, b, c and 7 more`.
    """
    text = ", ".join(map(printable, names[:most]))
    return text if len(names) <= most else f"{text} and {len(names) - most:,} more"
