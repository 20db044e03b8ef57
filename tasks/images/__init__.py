"""Images of a participant's own: a folder for each class."""
