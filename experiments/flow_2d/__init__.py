"""Flows of the plane on densities that are known: the comparison behind a table and figures."""
