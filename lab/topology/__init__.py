"""From text to plain data: a topology file is found, read, rendered and parsed here; what it means is the model's."""
