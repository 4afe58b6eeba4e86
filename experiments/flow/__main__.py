"""Trains a normalizing flow, measures its likelihood on the test examples and how it comes back.

python -m experiments.flow                                        # digits, no download
python -m experiments.flow --dataset mnist --data-dir DIR --model real_nvp --run-dir runs/mnist
python -m experiments.flow --dataset moons --model maf
"""

from experiments.course import main
from experiments.flow import EXPERIMENT

if __name__ == "__main__":
    main(EXPERIMENT, __doc__)
