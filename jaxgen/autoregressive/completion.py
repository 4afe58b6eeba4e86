"""Completion of images in part known: exact where what is hidden comes last in the order."""

from typing import Literal, get_args

import numpy as np

from jaxgen.autoregressive.orders import NAMES, Order, make_order

Mask = Literal["lower_half", "upper_half", "right_half", "left_half", "lower_quarter"]
MASKS: tuple[str, ...] = get_args(Mask)


def known_mask(name: str, height: int, width: int) -> np.ndarray:
    """What is known of an image of which a part is hidden.

    Args:
        name: of the part that is hidden.
        height: of the image.
        width: of the image.

    Returns:
        Booleans `[H, W]`, true where a pixel is known.

    Raises:
        ValueError: if there is no part of that name.
    """
    row, column = np.ogrid[:height, :width]
    hidden = {
        "lower_half": row >= (height + 1) // 2,
        "upper_half": row < height // 2,
        "right_half": column >= (width + 1) // 2,
        "left_half": column < width // 2,
        "lower_quarter": row >= height - max(height // 4, 1),
    }
    if name not in hidden:
        raise ValueError(f"mask: {name}, expected one of {', '.join(MASKS)}")
    return np.broadcast_to(~hidden[name], (height, width))


def check_mask(mask: np.ndarray, order: Order) -> None:
    """Checks that an order can complete what a mask hides: every hidden pixel after every known.

    Otherwise pixels would be drawn in ignorance of known ones that come later in the order.

    Args:
        mask: booleans `[H, W]`, true where a pixel is known.
        order: of the model.

    Raises:
        ValueError: if it cannot, naming orders that can; or if nothing is hidden.

    Source:
        van den Oord et al. 2016, "Pixel recurrent neural networks", section 5.6, of completions by
        the raster order.
    """
    if mask.all():
        raise ValueError("mask: hides no pixel, expected one at least")
    if _is_prefix(mask, order):
        return
    serving = [name for name in NAMES if _is_prefix(mask, make_order(name, *mask.shape))]
    hint = (
        f"a model trained with --order {' or '.join(serving)}"
        if serving
        else "one that an order can complete, such as a hidden lower half"
    )
    raise ValueError(
        f"mask: hides pixels that the order {order.name!r} writes before known ones, which they "
        f"could not depend on; expected {hint}"
    )


def _is_prefix(mask: np.ndarray, order: Order) -> bool:
    known = mask.reshape(-1)[np.array(order.indices)]
    return bool(np.all(known[:-1] >= known[1:]))
