"""How good a ranker is: full-catalogue retrieval, ranking of real exposures, behaviour."""
