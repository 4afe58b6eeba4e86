"""Inverse problems: images given a noisy linear measurement of them, under any model of images."""
