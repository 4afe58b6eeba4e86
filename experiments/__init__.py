"""Experiment scripts: one folder a method; `sample`, `evaluate` and `compare` for any run."""
