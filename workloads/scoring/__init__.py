"""How good a model is, from the counts of scored records in bins."""
