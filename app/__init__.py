"""The two Flower apps, the command `tacet`, and what they are built from."""
