"""The one-command run: real servers as plain processes, without docker and without root.

Nothing in this package imports Django: it makes the environment that Django's settings are read from.
"""
