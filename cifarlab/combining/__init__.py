"""Several finished runs as one: an ensemble, a soup of weights, a student of the ensemble."""
