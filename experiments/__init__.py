"""What the pages in docs/ measure beside the program's own numbers; each has its --help."""
