"""The names that splits usually have, in folders as in tensorflow-datasets."""

from collections.abc import Iterable

TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing")
VALIDATION_NAMES = ("validation", "valid", "val")


def named(names: Iterable[str], usual: tuple[str, ...]) -> list[str]:
    """Those of the names that are usual ones of a split, in any case.

    Args:
        names: what is there.
        usual: names in small letters, the preferred ones first.

    Returns:
        The names as they are written, in the order of preference.
    """
    found = [name for name in names if name.lower() in usual]
    return sorted(found, key=lambda name: (usual.index(name.lower()), name))
