"""Ranges of settings, beside the fields that they bound: `steps: Annotated[int, AT_LEAST_1]`."""

import dataclasses
import math
import typing
from typing import Any


@dataclasses.dataclass(frozen=True)
class Range:
    """An interval of finite numbers.

    Attributes:
        low: the least number.
        high: the bound above, which is not in the range.
        is_open: whether `low` is not in the range either.
    """

    low: float
    high: float = math.inf
    is_open: bool = False

    def __contains__(self, value: float) -> bool:
        """Whether a number lies in the range."""
        return (self.low < value if self.is_open else self.low <= value) and value < self.high

    def __str__(self) -> str:
        """The range in words."""
        if self.high < math.inf:
            return f"in {'(' if self.is_open else '['}{self.low:g}, {self.high:g})"
        return f"a finite number above {self.low:g}" if self.is_open else f"at least {self.low:g}"


AT_LEAST_0 = Range(0)
AT_LEAST_1 = Range(1)
POSITIVE = Range(0, is_open=True)
SHARE = Range(0, 1)


def require(is_good: bool, name: str, value: object, expected: str) -> None:
    """Raises ValueError naming a setting, its value and what was expected, unless it is good."""
    if not is_good:
        raise ValueError(f"{name}: {value}, expected {expected}")


def check_ranges(settings: Any) -> None:
    """Checks the fields of a settings dataclass that are annotated with a `Range`.

    Every number of a tuple must lie in the range; None and an empty tuple are left alone.

    Raises:
        ValueError: naming the first setting that is out of its range.
    """
    hints = typing.get_type_hints(type(settings), include_extras=True)
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        numbers = value if isinstance(value, tuple) else () if value is None else (value,)
        for bound in getattr(hints[field.name], "__metadata__", ()):
            if isinstance(bound, Range):
                is_good = all(number in bound for number in numbers)
                require(is_good, field.name, value, str(bound))
