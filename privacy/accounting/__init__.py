"""What releases cost: from noise to epsilon, and back."""
