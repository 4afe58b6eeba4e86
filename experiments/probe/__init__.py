"""The probe of what a trained run has learned: a small classifier on its features."""
