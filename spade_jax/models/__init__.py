"""The models, and the seam between them and everything else."""
