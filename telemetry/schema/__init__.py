"""The vocabularies of device types, and how they change."""
