"""How people and their apps sign in: django-allauth, wired to the rules of `devices/people`."""
