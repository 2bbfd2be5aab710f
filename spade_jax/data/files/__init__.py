"""Reading images and label maps."""
