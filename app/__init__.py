"""The two Flower apps and the only place that knows Hydra."""
