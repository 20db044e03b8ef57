"""The round loop, and what every aggregation's Flower strategy has in common."""
