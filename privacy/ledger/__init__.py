"""What a node has spent, and the cap that it is held to."""
