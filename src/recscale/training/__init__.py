"""Fitting a ranker. The only home of lightning."""
