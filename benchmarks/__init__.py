"""Speed side by side: every figure is a ratio between two ways measured in turn in one run."""
