"""Settings of M2."""

import dataclasses
from typing import Annotated

from experiments.encoder_decoder import EncoderDecoder
from experiments.ranges import AT_LEAST_0, AT_LEAST_1, OnlyWith, Range, check_settings


@dataclasses.dataclass(frozen=True)
class Settings(EncoderDecoder):
    """M2, and which labels it is given."""

    num_labels: Annotated[int, AT_LEAST_1] = 100
    """Labels that the training sees: a random draw, of each class as many as of any other."""
    label_seed: Annotated[int, Range(0, 2**32)] = 0
    """Of the draw of labels."""
    classification_weight: Annotated[float, AT_LEAST_0] = 1.0
    """Weight of the mean of -ln q(y|x) over the labelled examples beside the mean bound of all; 0.1
    in the paper."""
    hidden_sizes: Annotated[tuple[int, ...], AT_LEAST_1, OnlyWith(model=("mlp",))] = (200,)
    """Widths of the fully connected layers; the decoder has them in reverse."""
    supervised_steps: Annotated[int | None, AT_LEAST_0] = None
    """Training steps of the same classifier on the same labels alone; by default as many as M2 had,
    0 for none."""

    def __post_init__(self) -> None:
        check_settings(self)
