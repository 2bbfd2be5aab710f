"""Whether a configuration fits into the memory of a device."""
