"""Thousands of mutual-TLS devices in one process, for load and chaos."""
