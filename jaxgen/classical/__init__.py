"""Models in closed form: Gaussians and mixtures of images, and textures of one exemplar."""

from jaxgen.classical import gaussian, mixture, oracles, texture

__all__ = ["gaussian", "mixture", "oracles", "texture"]
