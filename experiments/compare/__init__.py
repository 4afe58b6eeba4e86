"""The comparison of trained runs, of any families, on the same data."""
