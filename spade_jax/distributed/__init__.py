"""Replicas on devices, and several processes."""
