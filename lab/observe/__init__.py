"""Looking at a living lab without touching it: counters, conditions to wait for, the kernel log, a node's state."""
