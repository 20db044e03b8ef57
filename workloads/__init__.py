"""What is summed, and what the server makes of it: both halves of a workload in one file."""
