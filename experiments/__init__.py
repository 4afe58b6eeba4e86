"""Experiment scripts: one a method, and `sample` and `evaluate` for any run."""
