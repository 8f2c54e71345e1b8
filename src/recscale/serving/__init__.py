"""How fast a ranker answers."""
