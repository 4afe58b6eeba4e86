"""The contestants: one small program for each library and family, all training the same networks."""
