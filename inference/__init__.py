"""What a trained run is used for: a trained run in, answers out."""
