"""Writes the table of losses in README.md from their docstrings.

python -m experiments.loss_table
"""

import inspect
import pathlib
import re
from types import ModuleType

from jaxgen import diffusion, flows, gan, vae
from jaxgen.files import write_atomically

_FAMILIES = {
    "vae.losses": vae.losses,
    "vae.semi_supervised": vae.semi_supervised,
    "flows.losses": flows.losses,
    "diffusion.losses": diffusion.losses,
    "diffusion.variational": diffusion.variational,
    "gan.losses": gan.losses,
    "gan.penalties": gan.penalties,
}
_START = "<!-- losses: written by `python -m experiments.loss_table` -->\n"
_END = "<!-- end of losses -->"


def loss_table() -> str:
    """Makes a Markdown table: name, what it is (the docstring's first paragraph), source.

    A function without a source is arithmetic that the losses share, and has no row.
    """
    lines = ["| loss | what | source |", "|---|---|---|"]
    for family, module in _FAMILIES.items():
        for name, function in _public_functions(module):
            doc = inspect.getdoc(function) or ""
            summary = " ".join(doc.split("\n\n")[0].split())
            source = re.search(r"Source:\n((?:  .*\n?)+)", doc)
            if source is None:
                continue
            cited = " ".join(source[1].split())
            what = summary.replace("|", "\\|").replace("``", "`")
            cited = cited.replace("|", "\\|").replace("``", "`")
            lines.append(f"| `{family}.{name}` | {what} | {cited} |")
    return "\n".join(lines) + "\n"


def write_table(readme: str) -> str:
    """Replaces the table in the text of a README.

    Raises:
        ValueError: if the text lacks the marks between which the table stands.
    """
    before, start, rest = readme.partition(_START)
    _, end, after = rest.partition(_END)
    if not start or not end:
        raise ValueError(f"README.md has no marks {_START.strip()!r} and {_END!r}")
    return f"{before}{start}{loss_table()}{end}{after}"


def _public_functions(module: ModuleType) -> list[tuple[str, object]]:
    return [
        (name, value)
        for name, value in vars(module).items()
        if not name.startswith("_")
        and inspect.isfunction(value)
        and value.__module__ == module.__name__
    ]


def main() -> None:
    """Rewrites README.md of the clone this module lies in."""
    path = pathlib.Path(__file__).parent.parent / "README.md"
    write_atomically(path, write_table(path.read_text()))


if __name__ == "__main__":
    main()
