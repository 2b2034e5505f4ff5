"""People: what their roles let them do, and what they bring along to say who they are."""
