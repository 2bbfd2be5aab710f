"""The train step, the loop around it, resume and preemption."""
