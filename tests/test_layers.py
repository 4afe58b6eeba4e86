"""Who may import whom: read from the sources, and from a fresh interpreter."""

import ast
import importlib
import pathlib
import subprocess
import sys
import tokenize

import pytest

import jaxgen

ROOT = pathlib.Path(jaxgen.__file__).parent
FAMILIES = ("autoregressive", "classical", "diffusion", "flows", "gan", "vae")
FOUNDATION = ("arrays", "distributions", "latents", "nn", "pixels", "types")
ABOVE_FOUNDATION = ("training", "data", "metrics", "plots", "figures", *FAMILIES)
HEAVY = (
    "PIL",
    "array_record",
    "grain",
    "matplotlib",
    "orbax",
    "rich",
    "sklearn",
    "tensorboardX",
    "tensorflow",
    "tensorflow_datasets",
    "torch",
    "tyro",
)


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def layer(name):
    """The part of jaxgen that a module belongs to, such as `vae`; empty for jaxgen itself."""
    return name.split(".")[1] if "." in name else ""


def of_layers(*layers):
    return pytest.mark.parametrize("name", [n for n in MODULES if layer(n) in layers])


each_module = pytest.mark.parametrize("name", MODULES)


def imports(path):
    """Every module that a source imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def is_within(name, package):
    return name == package or name.startswith(f"{package}.")


def imported(name, *packages):
    return sorted(i for i in imports(MODULES[name]) for p in packages if is_within(i, p))


def test_the_walk_finds_the_sources():
    assert {"jaxgen", "jaxgen.vae.losses", "jaxgen.types"} <= set(MODULES)
    assert "jaxgen.distributions" in imports(MODULES["jaxgen.vae.losses"])
    assert "jaxgen.vae.losses" in imports(MODULES["jaxgen.vae.algorithm"])
    assert {layer(name) for name in MODULES} & set(FAMILIES)


@each_module
def test_the_library_knows_no_program(name):
    assert not imported(name, "experiments", "benchmarks", "tests", "references", "conftest")


@of_layers(*FAMILIES)
def test_families_do_not_know_each_other(name):
    others = (family for family in FAMILIES if family != layer(name))
    assert not imported(name, *(f"jaxgen.{family}" for family in others))


@of_layers(*FOUNDATION)
def test_the_foundation_rests_on_itself(name):
    assert not imported(name, *(f"jaxgen.{part}" for part in ABOVE_FOUNDATION))


@of_layers("training", "data", "metrics", "plots", "figures")
def test_shared_parts_do_not_know_the_families(name):
    assert not imported(name, *(f"jaxgen.{family}" for family in FAMILIES))


@of_layers("data")
def test_data_do_not_know_training(name):
    assert not imported(name, "jaxgen.training")


@each_module
def test_each_outer_library_has_one_door(name):
    if layer(name) != "data":
        assert not imported(name, "tensorflow_datasets", "grain")
    if name != "jaxgen.training.orbax_arrays":
        assert not imported(name, "orbax")
    if layer(name) != "nn":
        assert not imported(name, "jax.interpreters", "jax.extend")
    assert not imported(name, "jax._src", "jaxlib.xla_extension", "torch")


@each_module
def test_one_file_names_pmap(name):
    with tokenize.open(MODULES[name]) as source:
        tokens = tokenize.generate_tokens(source.readline)
        names = {token.string for token in tokens if token.type == tokenize.NAME}
    assert ("pmap" in names) == (name == "jaxgen.training.parallel")


def test_the_library_and_a_family_load_no_heavy_package():
    """None beside those that jax, flax, optax and chex load themselves."""
    program = (
        "import sys, jax, flax.linen, flax.training.train_state, optax, chex;"
        "before = set(sys.modules);"
        "import jaxgen; from jaxgen import distributions, latents, nn, pixels, types, vae;"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = result.stdout.split()
    assert "jaxgen" in loaded
    assert not set(loaded) & set(HEAVY)


@each_module
def test_every_name_of_all_exists(name):
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", ())
    assert all(hasattr(module, entry) for entry in exported)
    assert len(set(exported)) == len(exported)
