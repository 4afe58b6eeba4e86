"""Trains a diffusion model, measures its bound on the test examples and draws how samples come.

python -m experiments.diffusion                                   # digits, no download
python -m experiments.diffusion --dataset mnist --data-dir DIR --channels 32 64 64 --run-dir runs/d
python -m experiments.diffusion --dataset moons
"""

from experiments.course import main
from experiments.diffusion import EXPERIMENT

if __name__ == "__main__":
    main(EXPERIMENT, __doc__)
