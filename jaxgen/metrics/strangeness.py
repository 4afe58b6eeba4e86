"""Scores of examples that do not come from the data of a model; the larger, the stranger.

All are of one example, `[N]`, from its log-likelihood in nats. None looks at the strange examples
to set itself.
"""

import io
import math

import numpy as np


def likelihood_score(log_prob: np.ndarray) -> np.ndarray:
    """The negative log-likelihood, `-ln p(x)`.

    It fails where strange examples are simpler: a model of N(0, I) gives more probability to draws
    of N(0, I/4) than to its own.

    Args:
        log_prob: `ln p(x)`, `[N]`, in nats.

    Returns:
        float64 `[N]`, in nats.

    Source:
        Bishop 1994, "Novelty detection and neural network validation"; Nalisnick et al. 2019, "Do
        deep generative models know what they don't know?", of its failure.
    """
    return -np.asarray(log_prob, np.float64)


def typicality_score(log_prob: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The distance to the typical log-likelihood, `|-ln p(x) - H|`.

    Args:
        log_prob: `ln p(x)`, `[N]`, in nats.
        reference: that of examples of the model's data which it has not been trained on, `[M]`,
            whose mean is -H. Train examples would give too low an H.

    Returns:
        float64 `[N]`, in nats.

    Raises:
        ValueError: if there is no reference.

    Source:
        Nalisnick et al. 2019, "Detecting out-of-distribution inputs to deep generative models using
        typicality", for one example at a time.
    """
    if not np.size(reference):
        raise ValueError("reference: 0 examples, expected at least 1")
    return np.abs(np.asarray(log_prob, np.float64) - np.mean(reference, dtype=np.float64))


def complexity_score(log_prob: np.ndarray, compressed_bits: np.ndarray) -> np.ndarray:
    """The negative log-likelihood less the length of a compressed file, `-log2 p(x) - L(x)`.

    Args:
        log_prob: `ln p(x)`, `[N]`, in nats.
        compressed_bits: length L of each image under a lossless codec, `[N]`, such as `png_bits`.

    Returns:
        float64 `[N]`, in bits.

    Source:
        Serrà et al. 2020, "Input complexity and out-of-distribution detection with likelihood-based
        generative models".
    """
    log_prob = np.asarray(log_prob, np.float64)
    return -log_prob / math.log(2.0) - np.asarray(compressed_bits, np.float64)


def ratio_score(log_prob: np.ndarray, background_log_prob: np.ndarray) -> np.ndarray:
    """The log-likelihood ratio to a background model, `ln p_0(x) - ln p(x)`.

    What both models find alike probable, such as smooth areas, cancels.

    Args:
        log_prob: `ln p(x)`, `[N]`, in nats.
        background_log_prob: `ln p_0(x)` of the same examples, `[N]`, under a model of the same kind
            that was trained on images some of whose pixels are drawn anew.

    Returns:
        float64 `[N]`, in nats.

    Source:
        Ren et al. 2019, "Likelihood ratios for out-of-distribution detection".
    """
    return np.asarray(background_log_prob, np.float64) - np.asarray(log_prob, np.float64)


def png_bits(x: np.ndarray) -> np.ndarray:
    """The length of each image as a PNG file, less that of an image of one colour.

    Lossless, by Pillow with `optimize`, of the pixel values as they are (in 8 bits, whatever the
    number of levels). The header and what else a file of this size has at least is taken off.

    Args:
        x: uint8 images `[N, H, W, C]`. Other numbers of channels than 1, 3 and 4 are written as
            grey planes side by side.

    Returns:
        float64 `[N]`, in bits; a few bytes at most for an image of one colour.

    Raises:
        ValueError: if `x` is no such array.
    """
    x = np.asarray(x)
    if x.dtype != np.uint8 or x.ndim != 4 or 0 in x.shape:
        raise ValueError(f"x: {x.dtype} {x.shape}, expected uint8 images [N, H, W, C]")
    if x.shape[-1] not in (1, 3, 4):
        x = np.concatenate(np.split(x, x.shape[-1], axis=-1), axis=2)
    blank = _png_size(np.zeros_like(x[0]))
    return np.array([8.0 * (_png_size(image) - blank) for image in x])


def _png_size(image: np.ndarray) -> int:
    """Bytes of an image `[H, W, 1, 3 or 4]` as a file."""
    from PIL import Image

    buffer = io.BytesIO()
    pixels = image[..., 0] if image.shape[-1] == 1 else image
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", optimize=True)
    return buffer.tell()
