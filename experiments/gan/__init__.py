"""The experiment of a GAN."""
