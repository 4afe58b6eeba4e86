"""Parts of self-contained pages: one file without scripts or links, read in any browser."""

import base64
import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --ink: #22262b; --soft: #646b75; --line: #dfe2e6;
  --page: #ffffff; --panel: #f5f6f8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #9aa1ab; --line: #343941;
  --page: #16181c; --panel: #1f2227; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem 1rem 4rem; background: var(--page);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.7rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 2.5rem 0 .75rem; font-size: 1.15rem; }
p, figcaption, summary { color: var(--soft); }
p { margin: .3rem 0; overflow-wrap: anywhere; }
pre, .scroll { overflow-x: auto; background: var(--panel); border-radius: .5rem; }
pre { padding: .75rem 1rem; }
code, pre { font: .9rem/1.5 ui-monospace, monospace; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem 1rem; text-align: left; vertical-align: top; }
tr + tr > * { border-top: 1px solid var(--line); }
th { font-weight: 500; }
td:last-child:nth-child(2) { width: 55%; overflow-wrap: anywhere; }
figure { margin: 0; }
figure img { display: block; max-width: 100%; height: auto; border-radius: .35rem;
  background: #ffffff; }
figcaption { margin: .35rem 0 1.5rem; font-size: .9rem; }
details { margin-bottom: 1.5rem; }
summary { cursor: pointer; margin-bottom: .75rem; font-size: .9rem; }
.curves { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(24rem, 100%), 1fr)); }
"""

_BITS = re.compile(r"_bits_per_dim$")
_NATS = re.compile(
    r"(^|_)(elbo\d*|ode|dequantized|rate|distortion|kl|nats|log_prob|log_likelihood)$"
    r"|^iw_?\d+(_standard_error)?$"
)
_QUANTITIES = (
    (re.compile(r"\belbo ?([\d,]+)"), r"ELBO of \1 steps"),
    (re.compile(r"\biw ?([\d,]+)"), r"IW bound, \1 draws"),
    (re.compile(r"\bode\b"), "density of the probability flow"),
    (re.compile(r"\bdequantized\b"), "density of dequantized pixels"),
    (re.compile(r"\belbo\b"), "ELBO"),
    (re.compile(r"\bkl\b"), "KL"),
)


def document(title: str, sections: Iterable[str]) -> str:
    """A whole page.

    Args:
        title: of the window, plain text.
        sections: HTML; empty ones are left out.
    """
    body = "\n".join(section for section in sections if section)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n"
        "</body>\n</html>\n"
    )


def escape(text: str) -> str:
    """A text as HTML shows it; bytes of file names that are no UTF-8 become escapes."""
    return html.escape(text.encode("utf-8", "backslashreplace").decode())


def figure(content: bytes, caption: str, *, kind: str = "png") -> str:
    """A picture inside the page with its caption."""
    text = escape(caption)
    data = base64.b64encode(content).decode("ascii")
    return (
        f'<figure><img alt="{text}" src="data:image/{kind};base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def table(rows: Iterable[Sequence[str]], *, head: Sequence[str] = ()) -> str:
    """A table whose first column names the rows; it scrolls where it is too wide."""
    cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = [f"<tr>{cells}</tr>"] if head else []
    for name, *values in rows:
        data = "".join(f"<td>{escape(value)}</td>" for value in values)
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{data}</tr>')
    return '<div class="scroll"><table>' + "\n".join(lines) + "</table></div>"


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under dotted names; a mean with its standard error stays together."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and set(value) != {"mean", "standard_error"}:
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def words(name: str) -> str:
    """A name for readers: `step_001000` becomes `step 1,000`."""
    name = re.sub(r"(^|[_\s])(bits_per_dim|bpd)$", r"\1bits_per_dimension", name)
    name = re.sub(r"(?<!\d)\d{4,}(?!\d)", lambda digits: f"{int(digits[0]):,}", name)
    return re.sub(r"[_\s]+", " ", name).strip()


def label(name: str) -> str:
    """A metric's name in words with its unit, where the name tells it."""
    quantity = re.split(r"[./]", name)[-1]
    unit = "nats per example" if _NATS.search(quantity) else ""
    if _BITS.search(name):
        name, unit = _BITS.sub("", name), "bits per dimension"
    text = words(name.removeprefix("metrics.").replace(".", ", ").replace("/", " "))
    for pattern, expansion in _QUANTITIES:
        text = pattern.sub(expansion, text)
    return f"{text} ({unit})" if unit else text


def show(value: Any) -> str:
    """A value as text: numbers with five significant digits, a mean as its error allows."""
    if isinstance(value, Mapping):
        return _show_mean(**value)
    if isinstance(value, list):
        return ", ".join(show(item) for item in value) or "none"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _show_mean(mean: float | None, standard_error: float | None) -> str:
    """A mean with as many decimals as the two leading digits of its standard error."""
    if standard_error is None:
        return show(mean)
    if mean is None or standard_error == 0 or not math.isfinite(standard_error):
        return f"{show(mean)} ± {show(standard_error)}"
    decimals = max(0, 1 - math.floor(math.log10(standard_error)))
    return f"{mean:.{decimals}f} ± {standard_error:.{decimals}f}"
