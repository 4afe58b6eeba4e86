"""Trains an autoregressive model, measures its exact likelihood and what it sees of an image.

python -m experiments.autoregressive                                        # digits, no download
python -m experiments.autoregressive --model transformer --order hilbert --run-dir runs/hilbert
python -m experiments.autoregressive --dataset mnist --data-dir DIR --run-dir runs/pixels_mnist
"""

from experiments.autoregressive import EXPERIMENT
from experiments.course import main

if __name__ == "__main__":
    main(EXPERIMENT, __doc__)
