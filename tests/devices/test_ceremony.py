"""The offline half, run as an operator does: a process without database, settings or the portal's packages."""

import os
import pty
import select
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from devices import ca_rules, ceremony, pki
from devices.errors import CertificateError
from tests.devices import peers

ROOT = Path(__file__).resolve().parents[2]
PASSPHRASE = "five random words in a row"
NOW = datetime.now(UTC)
BARE = {"PATH": os.environ["PATH"]}


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "passphrase"
    path.write_text(PASSPHRASE + "\n")
    return path


@pytest.fixture
def root(tmp_path):
    ceremony.make_root(tmp_path / "root", "Acme root", 20, PASSPHRASE, NOW)
    return tmp_path / "root"


@pytest.fixture
def request_file(tmp_path):
    path = tmp_path / "issuing.csr"
    path.write_text(peers.csr(subject="Issuing CA 2"))
    return path


def run(*arguments, **options):
    command = [sys.executable, "-m", "devices.ceremony", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=BARE, capture_output=True, text=True, check=False, **options)


def talk(command, answers, env):
    """Run a command at a terminal of its own and answer its questions. Returns (exit status, what was shown)."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        os.execvpe(command[0], command, env)
    shown, waiting = "", list(answers)
    while True:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, f"nothing more after {shown!r}"
        try:
            part = os.read(terminal, 4096).decode()
        except OSError:  # the other end is closed
            part = ""
        if not part:
            break
        shown += part
        # Counted from the end of what is shown: the same question may come twice.
        if waiting and shown.endswith(waiting[0][0]):
            os.write(terminal, waiting.pop(0)[1].encode() + b"\n")
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert waiting == [], shown
    return os.waitstatus_to_exitcode(status), shown


def test_makes_a_root_whose_key_lies_encrypted(tmp_path, secret):
    done = run("root", "--name", "Acme root", "--out", tmp_path / "root", "--passphrase-file", secret)
    assert (done.returncode, done.stderr) == (0, "")
    key = (tmp_path / "root" / "root.key").read_bytes()
    assert key.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert stat.S_IMODE((tmp_path / "root" / "root.key").stat().st_mode) == 0o600
    opened = serialization.load_pem_private_key(key, PASSPHRASE.encode())
    made = ca_rules.read((tmp_path / "root" / "root.pem").read_bytes())
    ca_rules.check_root(made, NOW)
    assert opened.public_key() == made.public_key()
    assert ca_rules.fingerprint(made) in done.stdout
    assert timedelta(days=7299) < made.not_valid_after_utc - NOW < timedelta(days=7301)


def test_signs_a_request_after_showing_what_it_is(tmp_path, root, request_file, secret):
    out = tmp_path / "issuing.pem"
    done = run(
        "sign", "--root", root, "--request", request_file, "--out", out, "--years", 3, "--yes",
        "--passphrase-file", secret,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    made, above = ca_rules.read(out.read_bytes()), ca_rules.read((root / "root.pem").read_bytes())
    ca_rules.check_issuing(made, above, NOW)
    assert made.subject.rfc4514_string() == "CN=Issuing CA 2"
    assert pki.key_fingerprint(pki.read_request(request_file.read_bytes()).public_key()) in done.stdout
    assert timedelta(days=3 * 365 - 1) < made.not_valid_after_utc - NOW < timedelta(days=3 * 365 + 1)
    kept = [ca_rules.read(path.read_bytes()) for path in root.glob("issued-*.pem")]
    assert kept == [made], "the root remembers what it signed"


def test_an_issuing_ca_never_outlives_its_root(tmp_path, request_file, secret):
    ceremony.make_root(tmp_path / "short", "Short", 1, PASSPHRASE, NOW)
    out = tmp_path / "issuing.pem"
    done = run("sign", "--root", tmp_path / "short", "--request", request_file, "--out", out, "--yes",
               "--passphrase-file", secret)  # fmt: skip
    assert done.returncode == 0
    above = ca_rules.read((tmp_path / "short" / "root.pem").read_bytes())
    assert ca_rules.read(out.read_bytes()).not_valid_after_utc == above.not_valid_after_utc


def test_openssl_accepts_the_chain_for_a_client(tmp_path, root, request_file, secret):
    run("sign", "--root", root, "--request", request_file, "--out", tmp_path / "issuing.pem", "--yes",
        "--passphrase-file", secret)  # fmt: skip
    command = ["openssl", "verify", "-x509_strict", "-CAfile", root / "root.pem", tmp_path / "issuing.pem"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.endswith(": OK\n")


def test_asks_for_the_passphrase_twice_and_for_a_yes(tmp_path, request_file):
    python = [sys.executable, "-m", "devices.ceremony"]
    make = [*python, "root", "--name", "Acme root", "--out", str(tmp_path / "root")]
    again = "The same again: "
    status, shown = talk(make, [("Passphrase of the root: ", PASSPHRASE), (again, "another")], BARE)
    assert (status, "differ" in shown) == (1, True)
    status, shown = talk(make, [("Passphrase of the root: ", PASSPHRASE), (again, PASSPHRASE)], BARE)
    assert status == 0
    assert PASSPHRASE not in shown
    sign = [*python, "sign", "--root", str(tmp_path / "root"), "--request", str(request_file),
            "--out", str(tmp_path / "issuing.pem")]  # fmt: skip
    for answer, expected in (("", 1), ("n", 1), ("y", 0)):
        status, shown = talk(sign, [("Passphrase of the root: ", PASSPHRASE), ("[y/N] ", answer)], BARE)
        assert status == expected
        assert (tmp_path / "issuing.pem").exists() is (expected == 0)
    assert "request     Issuing CA 2" in shown
    assert "key SHA-256" in shown


def test_a_passphrase_cannot_be_an_argument():
    for command in ("root", "sign"):
        done = run(command, "--help")
        assert "--passphrase-file FILE" in done.stdout
        assert "--passphrase " not in done.stdout


def test_never_overwrites(tmp_path, root, request_file, secret):
    before = (root / "root.key").read_bytes()
    done = run("root", "--name", "Other", "--out", root, "--passphrase-file", secret)
    assert (done.returncode, "never overwrites" in done.stderr) == (1, True)
    assert (root / "root.key").read_bytes() == before
    (tmp_path / "issuing.pem").write_text("something else")
    done = run("sign", "--root", root, "--request", request_file, "--out", tmp_path / "issuing.pem", "--yes",
               "--passphrase-file", secret)  # fmt: skip
    assert (done.returncode, "File exists" in done.stderr) == (1, True)
    assert (tmp_path / "issuing.pem").read_text() == "something else"


@pytest.mark.parametrize("passphrase", ["", "short", "x" * 19])
def test_a_short_passphrase_is_refused(tmp_path, passphrase):
    with pytest.raises(ceremony.CeremonyRefused, match="20 characters or more") as refusal:
        ceremony.make_root(tmp_path / "root", "Acme root", 20, passphrase, NOW)
    assert not passphrase or passphrase not in str(refusal.value)
    assert not (tmp_path / "root").exists()


def test_a_wrong_passphrase_and_a_foreign_key_open_nothing(tmp_path, root):
    with pytest.raises(CertificateError, match="cannot be opened"):
        ceremony.open_root(root, "another passphrase of some length", NOW)
    ceremony.make_root(tmp_path / "other", "Other", 20, PASSPHRASE, NOW)
    (root / "root.pem").write_bytes((tmp_path / "other" / "root.pem").read_bytes())
    with pytest.raises(ceremony.CeremonyRefused, match="not the key of"):
        ceremony.open_root(root, PASSPHRASE, NOW)
    with pytest.raises(ca_rules.CertificateRefused, match="expired on"):
        ceremony.open_root(root, PASSPHRASE, NOW + timedelta(days=21 * 365))


def edwards():
    key = ed25519.Ed25519PrivateKey.generate()
    return x509.CertificateSigningRequestBuilder().subject_name(pki.name("x")).sign(key, None)


def wanting_authority():
    builder = x509.CertificateSigningRequestBuilder().subject_name(pki.name("x"))
    key = ec.generate_private_key(ec.SECP256R1())
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=9), critical=True).sign(
        key, hashes.SHA256()
    )


def nameless():
    return x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(pki.new_key(), hashes.SHA256())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "not a PKCS#10 request"),
        (b"\x00\xff" * 50, "not a PKCS#10 request"),
        (b"x" * 100_000, "at most"),
        (lambda: edwards().public_bytes(serialization.Encoding.PEM), "elliptic curve"),
        (lambda: nameless().public_bytes(serialization.Encoding.PEM), "exactly one common name"),
        (lambda: wanting_authority().public_bytes(serialization.Encoding.PEM), "authority"),
    ],
    ids=["empty", "rubbish", "huge", "another kind of key", "nameless", "its own idea of a profile"],
)
def test_a_bad_request_is_named(tmp_path, root, secret, text, words):
    path = tmp_path / "bad.csr"
    path.write_bytes(text() if callable(text) else text)
    done = run(
        "sign", "--root", root, "--request", path, "--out", tmp_path / "x.pem", "--yes", "--passphrase-file", secret
    )
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x.pem").exists()


def test_what_cannot_be_read_or_meant_is_named(tmp_path, root, request_file, secret):
    arguments = ["sign", "--root", root, "--request", request_file, "--out", tmp_path / "x.pem", "--yes"]
    missing = run(*arguments, "--passphrase-file", tmp_path / "no-such")
    assert (missing.returncode, "no-such cannot be read: No such file" in missing.stderr) == (1, True)
    for years in ("0", "41", "many"):
        done = run(*arguments, "--years", years, "--passphrase-file", secret)
        assert (done.returncode, "--years" in done.stderr) == (2, True)


def test_carries_nothing_of_the_portal():
    code = "import sys, devices.ceremony; print(sorted({'django', 'celery', 'psycopg', 'pkcs11'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=BARE, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
