"""Image files, folders of them, and prepared tensorflow-datasets, made for the tests of data."""

import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core import registered

from jaxgen import data

RNG = np.random.default_rng(0)


def random_pixels(*shape, high=256):
    return RNG.integers(0, high, shape).astype(np.uint8)


def save(path, pixels=None, mode=None):
    """An image file of these pixels, by default of a few random grey ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(random_pixels(2, 2) if pixels is None else pixels)
    (image if mode is None else image.convert(mode)).save(path)


def make(root, *names):
    """Small images with these names below a folder."""
    for name in names:
        save(root / name)


def load(root, **settings):
    return data.load(f"folder:{root}", **settings)


def whole(split):
    return split.gather(np.arange(len(split)))


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


def image_examples(num, *shape, high=256):
    return [{"image": png(random_pixels(*shape, high=high))} for _ in range(num)]


def prepare(data_dir, features, splits, *, file_format="array_record", name="tiny_set"):
    """Prepares a data set without TensorFlow; `splits` maps a name to a list of examples."""
    with registered.skip_registration():

        class TinySet(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                return tfds.core.DatasetInfo(
                    builder=self, features=tfds.features.FeaturesDict(features)
                )

            def _split_generators(self, dl_manager):
                return {split: enumerate(examples) for split, examples in splits.items()}

            def _generate_examples(self):
                raise NotImplementedError

    TinySet.name = name
    TinySet(data_dir=data_dir, file_format=file_format).download_and_prepare()
