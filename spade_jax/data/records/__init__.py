"""Prepared records: their writer, reader and fingerprint."""
