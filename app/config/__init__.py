"""The typed configuration of a run. The only package that may import Hydra."""
