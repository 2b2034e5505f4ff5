"""What templates of the portal's own pages need."""
