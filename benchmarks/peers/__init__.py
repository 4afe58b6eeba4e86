"""The contestants: one small program for each library, all training the same two VAEs."""
