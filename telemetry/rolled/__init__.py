"""Figures of minutes and hours."""
