"""The modes of the program, one file each.

Besides `run()`, the file of a mode has its help as docstring, `FLAGS`, the flags that it reads
besides --workdir and the options of Config, and `SECTIONS`, the sections of Config that it reads.
"""
