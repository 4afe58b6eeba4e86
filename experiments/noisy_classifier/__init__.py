"""The classifier of noisy data that guides a diffusion model to a class."""
