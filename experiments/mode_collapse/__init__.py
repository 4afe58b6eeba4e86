"""The experiment that compares adversarial methods."""
