"""Prepared records: one format, its writer, reader and fingerprint."""
