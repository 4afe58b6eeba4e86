"""Experiment scripts: one folder a method on one course; `sample`, `evaluate`, `compare` for any run."""
