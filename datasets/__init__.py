"""Where images come from, and how they become input. Nothing here knows MXNet."""
