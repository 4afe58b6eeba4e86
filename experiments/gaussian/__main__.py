"""Fits a Gaussian in closed form, measures it and shows where images are not as it expects.

python -m experiments.gaussian                                        # digits, no download
python -m experiments.gaussian --dataset folder:faces --run-dir runs/faces
python -m experiments.gaussian --covariance ppca --num-factors 10
"""

from experiments.gaussian import EXPERIMENT
from experiments.without_optimizer import main

if __name__ == "__main__":
    main(EXPERIMENT, __doc__)
