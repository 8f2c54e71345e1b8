"""How recommenders scale: generative and CTR rankers on one log, one recency module, one ladder."""

__version__ = "0.1.0"
