"""How contributions are combined: Flower strategies and the round loop."""
