"""What the VAE contestants share: the two workloads and their sizes."""

from typing import Literal

from benchmarks.peers.common import IMAGE_SIZE

Workload = Literal["mlp", "conv"]

BATCH_SIZE = 128
LEARNING_RATE = 1e-3

MLP_HIDDEN = 400
MLP_LATENT = 20
CONV_FEATURES = (32, 64)
CONV_KERNEL = 4
CONV_LATENT = 16
CONV_SPATIAL = IMAGE_SIZE // 4
CONV_FLAT = CONV_SPATIAL * CONV_SPATIAL * CONV_FEATURES[-1]
