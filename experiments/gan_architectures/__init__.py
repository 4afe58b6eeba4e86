"""The experiment that compares architectures of GANs under several losses."""
