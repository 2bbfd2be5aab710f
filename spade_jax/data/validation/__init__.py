"""--mode=validate_data: all that is wrong with a data set, at once, and the flags that would mend it."""
