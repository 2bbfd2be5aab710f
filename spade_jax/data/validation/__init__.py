"""Data validation: find all defects of a data set and suggest flags."""
