"""Many pretrainings side by side: gathered from experiments, their loss over compute and over the learning rate."""
