"""A run on disk: its record and files, how it is opened, begun, resumed. Nothing here trains."""
