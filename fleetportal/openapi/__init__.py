"""The API's description: OpenAPI 3.1 by drf-spectacular, with what is the same everywhere told once."""
