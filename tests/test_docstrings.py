"""Every public name says what it does, and every function what goes in, comes out and goes wrong.

Modules, classes, functions and methods have a docstring. A function of a module has moreover
`Args:` with its parameters in order, `Returns:` or `Yields:` if it returns a value, `Raises:` if
its body raises a ValueError, and `Source:` in the modules of mathematics.
"""

import ast
import pathlib
import re

import pytest

import jaxgen

ROOT = pathlib.Path(jaxgen.__file__).parent
PATHS = sorted(ROOT.rglob("*.py"))
MATHEMATICS = (
    "diffusion/guidance.py",
    "diffusion/losses.py",
    "diffusion/samplers/deterministic.py",
    "diffusion/samplers/stochastic.py",
    "diffusion/variational.py",
    "distributions.py",
    "gan/losses.py",
    "gan/penalties.py",
    "latents.py",
    "pixels.py",
    "vae/algorithm.py",
    "vae/losses.py",
    "vae/semi_supervised.py",
)
# Arithmetic that nobody needs to be cited for.
WITHOUT_SOURCE = {
    "clip",
    "sum_event",
    "dequantized_to_model_range",
    "pixel_values",
    "to_model_range",
    "from_model_range",
    "lerp",
    "traversal",
    "safe_norm",
}
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Source")

each_path = pytest.mark.parametrize(
    "path", PATHS, ids=[path.relative_to(ROOT).as_posix() for path in PATHS]
)


def public(body, kinds):
    return [node for node in body if isinstance(node, kinds) and not node.name.startswith("_")]


def functions(path):
    return public(ast.parse(path.read_text()).body, ast.FunctionDef)


def section(docstring, name):
    """The text of a section, or None."""
    found = re.search(rf"^{name}:\n(.*?)(?=^(?:{'|'.join(SECTIONS)}):$|\Z)", docstring, re.M | re.S)
    return found and found[1]


def parameters(function):
    arguments = function.args
    more = [arguments.vararg] if arguments.vararg else []
    every = (*arguments.posonlyargs, *arguments.args, *more, *arguments.kwonlyargs)
    return [argument.arg for argument in every]


def entries(text):
    """The names at the smallest indentation of a section."""
    indent = min(len(line) - len(line.lstrip()) for line in text.splitlines() if line.strip())
    return re.findall(rf"^ {{{indent}}}\*{{0,2}}(\w+):", text, re.M)


def own_nodes(function):
    """The nodes of a function, without those of the functions that it defines."""
    waiting = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            waiting.extend(ast.iter_child_nodes(node))


def raises_value_error(function):
    raised = [n.exc for n in own_nodes(function) if isinstance(n, ast.Raise) and n.exc]
    return any(ast.unparse(exception).startswith("ValueError") for exception in raised)


@each_path
def test_everything_public_has_a_docstring(path):
    tree = ast.parse(path.read_text())
    definitions = public(tree.body, ast.FunctionDef | ast.ClassDef)
    for parent in public(tree.body, ast.ClassDef):
        definitions += public(parent.body, ast.FunctionDef | ast.ClassDef)
    assert ast.get_docstring(tree), "module"
    assert [node.name for node in definitions if not ast.get_docstring(node)] == []


@each_path
def test_args_name_every_parameter_in_order(path):
    for function in functions(path):
        text = section(ast.get_docstring(function), "Args")
        assert (entries(text) if text else []) == parameters(function), function.name


@each_path
def test_returns_and_raises_are_stated(path):
    for function in functions(path):
        docstring = ast.get_docstring(function)
        returns = function.returns is not None and ast.unparse(function.returns) != "None"
        stated = section(docstring, "Returns") or section(docstring, "Yields")
        assert bool(stated) == returns, f"{function.name}: Returns"
        if raises_value_error(function):
            assert "ValueError" in (section(docstring, "Raises") or ""), f"{function.name}: Raises"


@pytest.mark.parametrize("name", MATHEMATICS)
def test_mathematics_cite_their_source(name):
    """Author and year."""
    for function in functions(ROOT / name):
        if function.name not in WITHOUT_SOURCE:
            source = section(ast.get_docstring(function), "Source") or ""
            assert re.search(r"[A-Z]\w+.* (1[89]|20)\d\d", source), function.name


def test_distributions_cite_their_source():
    tree = ast.parse((ROOT / "distributions.py").read_text())
    for node in public(tree.body, ast.ClassDef):
        if node.name != "Density":
            assert section(ast.get_docstring(node), "Source"), node.name
