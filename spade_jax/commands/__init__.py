"""The modes of the program, one file each; the docstring of the file is the help of the mode."""
