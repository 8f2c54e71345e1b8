"""Rules without parameters: the floors that a model has to beat."""
