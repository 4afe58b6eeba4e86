"""Scores that tell examples of another data set from those of a trained run's own."""
