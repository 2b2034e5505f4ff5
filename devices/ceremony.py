"""`python -m devices.ceremony`: the root's life on a machine without network, database or settings.

Needs this checkout's `devices` folder and the package `cryptography`, nothing else. The root's key lies encrypted in
the folder `--out` and never leaves it; certificates and requests travel on a memory stick.
"""

import argparse
import getpass
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from devices import ca_rules, pki
from devices.errors import CertificateError
from devices.key_files import FileKeys

KEY = "root"
MIN_PASSPHRASE = 20
"""Characters: five random words. The file format hashes quickly, so length is what protects."""
MAX_YEARS = 40


class CeremonyRefused(Exception):
    """The ceremony cannot go on; the text says why and holds no secret."""


def make_root(folder: Path, name: str, years: int, passphrase: str, now: datetime) -> x509.Certificate:
    """Make a root: `root.key` (encrypted) and `root.pem` in a folder that holds none. Raises `CeremonyRefused`."""
    ca_rules.check_name(name)
    if len(passphrase) < MIN_PASSPHRASE:
        raise CeremonyRefused(f"The passphrase needs {MIN_PASSPHRASE} characters or more, such as five random words.")
    try:
        key = FileKeys(folder, passphrase).make(KEY)
    except FileExistsError as error:
        raise CeremonyRefused(f"{folder} holds a root's key already; a ceremony never overwrites one.") from error
    certificate = pki.make_root(name, key, timedelta(days=365 * years), now)
    _write_new(folder / "root.pem", pki.pem(certificate))
    return certificate


def open_root(folder: Path, passphrase: str, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """The root of a folder. Raises `CeremonyRefused`, `CertificateRefused` and `CertificateError`."""
    certificate = ca_rules.read(_read(folder / "root.pem"))
    ca_rules.check_root(certificate, now)
    key = FileKeys(folder, passphrase).load(KEY)
    if key.public_key() != certificate.public_key():
        raise CeremonyRefused(f"In {folder}, root.key is not the key of root.pem.")
    return certificate, key


def read_request(path: Path) -> tuple[str, ec.EllipticCurvePublicKey]:
    """Name and key of the issuing CA that is requested. Raises `CeremonyRefused` and the refusals of the rules."""
    request = pki.read_request(_read(path))
    key = request.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise CeremonyRefused("The key of an issuing CA must be an elliptic curve key.")
    return ca_rules.common_name(request.subject), key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CeremonyRefused(f"{path} cannot be read: {error.strerror}.") from error


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x") as file:
            file.write(text)
    except OSError as error:
        raise CeremonyRefused(f"{path} cannot be written: {error.strerror}.") from error


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _passphrase(file: Path | None, *, new: bool) -> str:
    if file is not None:
        return _read(file).decode().rstrip("\r\n")
    given = getpass.getpass("Passphrase of the root: ")
    if new and given != getpass.getpass("The same again: "):
        raise CeremonyRefused("The two passphrases differ.")
    return given


def _years(text: str) -> int:
    years = int(text)
    if not 1 <= years <= MAX_YEARS:
        raise ValueError(text)
    return years


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m devices.ceremony", description="The root's offline ceremony.")
    commands = parser.add_subparsers(dest="command", required=True)
    root = commands.add_parser("root", help="make a root")
    root.add_argument("--name", required=True, help="common name of the root")
    root.add_argument("--out", required=True, type=Path, metavar="DIR", help="new folder of the root")
    root.add_argument("--years", type=_years, default=20)
    sign = commands.add_parser("sign", help="sign the request of an issuing CA")
    sign.add_argument("--root", required=True, type=Path, metavar="DIR", help="folder of the root")
    sign.add_argument("--request", required=True, type=Path, metavar="FILE", help="what make_ca request wrote")
    sign.add_argument("--out", required=True, type=Path, metavar="FILE", help="the new certificate")
    sign.add_argument("--years", type=_years, default=5)
    sign.add_argument("--yes", action="store_true", help="do not ask; the fingerprint was compared before")
    for each in (root, sign):
        each.add_argument("--passphrase-file", type=Path, metavar="FILE", help="instead of being asked for it")
    return parser


def _run(asked: argparse.Namespace, now: datetime) -> None:
    if asked.command == "root":
        made = make_root(asked.out, asked.name, asked.years, _passphrase(asked.passphrase_file, new=True), now)
        _say(f"root        {asked.name}\nvalid until {made.not_valid_after_utc:%F}")
        _say(f"key SHA-256 {ca_rules.fingerprint(made)}")
        return
    name, key = read_request(asked.request)
    _say(f"request     {name}\nkey SHA-256 {pki.key_fingerprint(key)}")
    root, root_key = open_root(asked.root, _passphrase(asked.passphrase_file, new=False), now)
    _say(f"root        {ca_rules.common_name(root.subject)}\ntoday       {now:%F %R} UTC")
    if not asked.yes and input("Is the fingerprint that of make_ca request, and today right? [y/N] ") != "y":
        raise CeremonyRefused("Not signed.")
    made = pki.make_issuing(name, key, root, root_key, timedelta(days=365 * asked.years), now)
    ca_rules.check_issuing(made, root, now)
    # What a root has signed must be known when one of them has to be taken back.
    _write_new(asked.root / f"issued-{pki.serial_text(made)}.pem", pki.pem(made))
    _write_new(asked.out, pki.pem(made))
    _say(f"signed      until {made.not_valid_after_utc:%F}, written to {asked.out}")


def main(arguments: list[str] | None = None) -> int:
    """Carry out one command. Returns the exit status: 1 with a message when it was refused."""
    asked = _arguments().parse_args(arguments)
    try:
        _run(asked, datetime.now(UTC))
    except (CeremonyRefused, ca_rules.CertificateRefused, pki.RequestRefused, CertificateError) as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
