"""The one exception that is the user's to mend."""


class UserError(ValueError):
    """Bad input: a flag, a file, a directory, a checkpoint.

    The message is one line that carries the offending value and the remedy. `main.py` prints it without a traceback and exits with status 2;
    any other exception is a fault of the program and keeps its traceback.
    """
