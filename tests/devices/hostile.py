"""What broken and malicious devices send. No door may crash on any of it."""

import json
import uuid

CORPUS: dict[str, bytes] = {
    "nothing": b"",
    "deep arrays": b"[" * 100_000,
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "deep and closed": b"[" * 5_000 + b"]" * 5_000,
    "almost too deep": b"[" * 500 + b"]" * 500,  # what is left of the stack differs from door to door
    "huge number": b'{"msg_id":"%s","ts":1,"x":%s}' % (str(uuid.UUID(int=1)).encode(), b"9" * 4000),
    "huger number": b"9" * 200_000,
    "huge exponent": b'{"ts":1e999999999}',
    "NaN": b'{"ts":NaN,"values":{"a":NaN}}',
    "Infinity": b'{"ts":-Infinity}',
    "bad UTF-8": b'{"kind":"\xff\xfe\xc0\xaf"}',
    "lone surrogate": b'{"kind":"\\ud800"}',
    "NUL byte": b'{"kind":"a\x00b"}',
    "escaped NUL": b'{"kind":"a\\u0000b"}',
    "a BOM": b"\xef\xbb\xbf{}",
    "256 KiB + 1": b"{" + b" " * (256 * 1024) + b"}",
    "SQL": json.dumps({"kind": "'; DROP TABLE devices_device; --"}).encode(),
    "a script": json.dumps({"kind": "<script>alert(1)</script>"}).encode(),
    "the wrong kind": b'["status"]',
    "a bare string": b'"online"',
    "null": b"null",
    "duplicate keys": b'{"state":"online","state":"offline"}',
    "trailing bytes": b"{} {}",
    "half a message": b'{"state":"onl',
    "CBOR, deep": b"\x81" * 50_000,
    "CBOR, a length of 2^63": b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
    "CBOR, an array of 2^63": b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff",
    "CBOR, a map of 2^63": b"\xbb\x7f\xff\xff\xff\xff\xff\xff\xff",
    "CBOR, a cycle": b"\xd8\x1c\x81\xd8\x1d\x00",
    "CBOR, a regular expression": b"\xd8\x23\x6a(a+)+$(a+)",
    "CBOR, a decimal of 10^(2^60)": b"\xc4\x82\x1b\x10\x00\x00\x00\x00\x00\x00\x00\x01",
    "CBOR, a rational by zero": b"\xd8\x1e\x82\x01\x00",
    "CBOR, half a float": b"\xfb\x7f\xf0",
    "CBOR, endless": b"\x9f" + b"\x00" * 1000,
    "CBOR, a string of strings": b"\x7f" + b"\x61a" * 1000,
    "all bytes": bytes(range(256)),
}
