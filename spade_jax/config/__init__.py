"""The configuration in sections, its flags, and the catalog of data sets."""
