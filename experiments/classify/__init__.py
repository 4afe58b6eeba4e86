"""Classes by Bayes' rule from the likelihoods of a class-conditional run."""
