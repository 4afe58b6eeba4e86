"""Settings of a texture."""

import dataclasses
from typing import Annotated, Literal

from experiments.ranges import Range, check_settings

_SIDE = Range(1, 8192, is_closed=True)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What belongs to the exemplar; the digests are those of the files' contents.

    Attributes:
        mask: image file, or None.
        mix: image file, or None.
        mask_digest: SHA-256 of the mask, so that another one under its name is another run.
        mix_digest: likewise.
    """

    mask: str | None = None
    mix: str | None = None
    mask_digest: str | None = None
    mix_digest: str | None = None


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How textures are drawn."""

    method: Literal["rpn", "adsn"] = "rpn"
    """Random phase noise, which keeps the exemplar's spectrum in every draw, or asymptotic discrete
    spot noise, a Gaussian field that has it on average."""
    size: Annotated[tuple[int, int] | None, _SIDE] = None
    """Height and width of a texture; by default those of the exemplar."""
    periodic: bool = False
    """Draw textures that tile: what leaves one border comes in at the opposite one. Without it
    opposite borders know nothing of each other, nor in a completion by --mask."""

    def __post_init__(self) -> None:
        check_settings(self)
