"""Trains an autoencoder or a VAE, measures it on the test images and draws what it has learned.

python -m experiments.vae                                         # digits, no download
python -m experiments.vae --dataset mnist --data-dir DIR --model conv --run-dir runs/mnist
"""

from experiments.course import main
from experiments.vae import EXPERIMENT

if __name__ == "__main__":
    main(EXPERIMENT, __doc__)
