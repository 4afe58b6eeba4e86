"""The contestants: one small program a library and family, all training the same networks."""
