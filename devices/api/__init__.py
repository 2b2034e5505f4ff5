"""The HTTP door of this room for apps and devices."""
