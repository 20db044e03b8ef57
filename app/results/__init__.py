"""What a run leaves: its folder, its history, its model file."""
