"""Labels as models are told them."""

import jax

from jaxgen.types import Array


def one_hot_condition(label: Array | None, num_classes: int | None) -> Array | None:
    """Labels in one-hot form for a conditional model; zeros stand for none.

    Args:
        label: int `[B]`, or None.
        num_classes: of the model, or None for one without classes.

    Returns:
        float32 `[B, num_classes]`, or None for a model without classes.

    Raises:
        ValueError: if a conditional model is given no label.
    """
    if num_classes is None:
        return None
    if label is None:
        raise ValueError(f"label: none, expected a class 0 to {num_classes - 1} of each example")
    return jax.nn.one_hot(label, num_classes)
