"""How several processes train as one. Nothing here knows what is trained."""
