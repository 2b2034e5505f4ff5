"""`python docker/answers.py URL [CA_FILE]`: exits with 0 when the URL answers 200. The health check of our servers."""

import ssl
import sys
import urllib.request


def main(url: str, ca_file: str | None = None) -> bool:
    """Whether a GET is answered with 200 within 4 s."""
    tls = ssl.create_default_context(cafile=ca_file) if ca_file else None
    try:
        with urllib.request.urlopen(url, timeout=4, context=tls) as answer:  # noqa: S310 (our own address)
            return bool(answer.status == 200)
    except OSError as error:
        print(error)  # noqa: T201 (docker keeps it with the state)
        return False


if __name__ == "__main__":
    sys.exit(0 if main(*sys.argv[1:]) else 1)
