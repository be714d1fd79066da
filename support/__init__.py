"""The chores behind center loss: what a reader of the root's files may take on trust."""
