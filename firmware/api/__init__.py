"""The HTTP API of this room, one noun a file."""
