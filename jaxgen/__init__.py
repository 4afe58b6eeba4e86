"""Generative models of images in JAX: one functional library for every family.

Import the family you need, as in ``from jaxgen import vae``; that loads jax, flax, optax and chex
alone.
"""
