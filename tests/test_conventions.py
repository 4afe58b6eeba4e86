"""Conventions of names and words that hold everywhere: modules, exports, notation, citations."""

import ast
import collections
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = ("jaxgen", "experiments", "benchmarks")
PATHS = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
NAMES = [path.relative_to(ROOT).as_posix() for path in PATHS]
# Files that each family has, and the parts of an experiment.
ROLES = {
    "__init__",
    "__main__",
    "algorithm",
    "build",
    "diagnostics",
    "losses",
    "models",
    "pictures",
    "settings",
}
METAPHORS = re.compile(r"\b(yardstick|twin|rival|law|door)s?\b", re.IGNORECASE)
OLD_NOTATION = re.compile(r"\b\w\(\w+ given \w+\)|KL\(\w+[^)]* to ")
CITATION = re.compile(
    r"^[A-Za-z][\w' -]+(?:, [A-Z][\w' -]+)*(?: & [A-Z][\w' -]+| et al\.)? (?:1[89]|20)\d\d, \"[^\"]+\""
)

each_path = pytest.mark.parametrize("path", PATHS, ids=NAMES)


def test_no_module_shadows_the_standard_library():
    """But `types`, as the scientific libraries have it."""
    shadows = {p.stem for p in PATHS} & set(sys.stdlib_module_names)
    assert shadows - {"types", "__main__"} == set()


def test_a_name_of_a_module_means_one_thing():
    count = collections.Counter(path.stem for path in PATHS)
    shared = {name for name, num in count.items() if num > 1}
    assert shared - ROLES == set()


@each_path
def test_exports_are_listed(path):
    """Names are imported as they are, and what a package offers stands in `__all__`."""
    tree = ast.parse(path.read_text())
    imported = [
        alias for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    assert [alias.name for alias in imported if alias.name == alias.asname] == []
    if path.name == "__init__.py" and path.is_relative_to(ROOT / "jaxgen"):
        exported = [n for n in tree.body if isinstance(n, ast.ImportFrom)]
        assigned = [n.targets[0] for n in tree.body if isinstance(n, ast.Assign)]
        has_all = any(getattr(target, "id", "") == "__all__" for target in assigned)
        assert has_all or not exported


@each_path
def test_words_are_those_of_the_field(path):
    text = path.read_text()
    assert METAPHORS.findall(text) == []
    assert OLD_NOTATION.findall(text) == []


def sources(path):
    """What each docstring cites."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
            found = re.search(r"^Source:\n((?:    .*\n?)+)", ast.get_docstring(node) or "", re.M)
            if found:
                yield " ".join(found[1].split())


@each_path
def test_citations_have_one_form(path):
    """Authors, year, title in quotes; several stand behind one another with semicolons."""
    for source in sources(path):
        assert CITATION.match(source), source
