"""Streams, signals, errors, whole files, and the start-up. Nothing here knows center loss."""
