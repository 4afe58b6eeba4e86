"""Fits a mixture of Gaussians by EM, measures it, and shows its components and completions.

python -m experiments.mixture                                        # digits, no download
python -m experiments.mixture --covariance diagonal --num-components 40 --run-dir runs/diagonal
python -m experiments.mixture --dataset mnist --data-dir DIR --batch-size 2000 --steps 600
"""

from experiments.mixture import EXPERIMENT
from experiments.without_optimizer import main

if __name__ == "__main__":
    main(EXPERIMENT, __doc__)
