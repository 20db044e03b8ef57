"""What is learned: data, partition, model, loss, metrics, local training."""
