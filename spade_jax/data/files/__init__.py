"""Reading of image files and label maps, palettes, and resizing."""
