"""The results of a run: its folder, history and model file."""
