"""Trains a generative adversarial network, draws what it generates and measures it.

python -m experiments.gan                                         # digits, no download
python -m experiments.gan --loss hinge --spectral --penalty none --run-dir runs/sngan
python -m experiments.gan --loss wasserstein --penalty wgan_gp --num-critic-steps 5
"""

from experiments.course import main
from experiments.gan import EXPERIMENT

if __name__ == "__main__":
    main(EXPERIMENT, __doc__)
