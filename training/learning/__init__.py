"""From batches to weights: loop, step, gradient, optimizer, and what a run keeps of itself to go on from."""
