"""Days that leave the database, and what may leave it for good."""
