"""What bounds a setting, beside its field: `steps: Annotated[int, AT_LEAST_1]`."""

import dataclasses
import math
import typing
from collections.abc import Container
from typing import Any


@dataclasses.dataclass(frozen=True)
class Range:
    """An interval of finite numbers.

    Attributes:
        low: the least number.
        high: the bound above, which is not in the range.
        is_open: whether `low` is not in the range either.
        is_closed: whether `high` is in the range after all.
    """

    low: float
    high: float = math.inf
    is_open: bool = False
    is_closed: bool = False

    def __contains__(self, value: float) -> bool:
        """Whether a number lies in the range."""
        is_above = self.low < value if self.is_open else self.low <= value
        return is_above and (value <= self.high if self.is_closed else value < self.high)

    def __str__(self) -> str:
        """The range in words."""
        if self.high < math.inf:
            ends = "(" if self.is_open else "[", "]" if self.is_closed else ")"
            return f"in {ends[0]}{self.low:.12g}, {self.high:.12g}{ends[1]}"
        return f"a finite number above {self.low:g}" if self.is_open else f"at least {self.low:g}"


class OnlyWith:
    """Says that a setting has an effect only where another has one of some values.

    Attributes:
        effective: name of another setting to its values; one of several names is enough.
    """

    def __init__(self, **effective: Container[Any]) -> None:
        """Names the other settings: `OnlyWith(model=("mlp",))`."""
        self.effective = effective

    def __str__(self) -> str:
        """The condition in words."""
        return " or ".join(f"{name} {_in_words(values)}" for name, values in self.effective.items())


def _in_words(values: Container[Any]) -> str:
    return "/".join(map(str, values)) if isinstance(values, tuple) else str(values)


AT_LEAST_0 = Range(0)
AT_LEAST_1 = Range(1)
POSITIVE = Range(0, is_open=True)
SHARE = Range(0, 1)


def require(is_good: bool, name: str, value: object, expected: str) -> None:
    """Raises ValueError naming a setting, its value and what was expected, unless it is good."""
    if not is_good:
        raise ValueError(f"{name}: {value}, expected {expected}")


def require_default(settings: Any, name: str, reason: str) -> None:
    """Raises ValueError if a setting without effect was changed from its default."""
    value, default = getattr(settings, name), getattr(type(settings), name)
    require(value == default, name, value, f"{default} (the default), since {reason}")


def check_settings(settings: Any) -> None:
    """Checks the fields of a settings dataclass that are annotated with `Range` or `OnlyWith`.

    Every number of a tuple must lie in the range; None and an empty tuple are left alone. A setting
    without effect must have its default, so that nobody believes that it did something.

    Raises:
        ValueError: naming the first setting that is out of its range or has no effect.
    """
    hints = typing.get_type_hints(type(settings), include_extras=True)
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        numbers = value if isinstance(value, tuple) else () if value is None else (value,)
        for bound in getattr(hints[field.name], "__metadata__", ()):
            if isinstance(bound, Range):
                is_good = all(number in bound for number in numbers)
                require(is_good, field.name, value, str(bound))
            if isinstance(bound, OnlyWith):
                others = bound.effective.items()
                if not any(getattr(settings, name) in values for name, values in others):
                    require_default(settings, field.name, f"it has an effect only with {bound}")
