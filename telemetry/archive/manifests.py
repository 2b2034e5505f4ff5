"""What lies beside each archived file: all that is needed to read it without the database. Pure."""

from datetime import date, datetime

import msgspec

FORMAT = 1


class Column(msgspec.Struct, frozen=True):
    """A column of the file."""

    name: str
    type: str
    about: str


class Metric(msgspec.Struct, frozen=True):
    """A value of a schema, in the words of that time."""

    name: str
    label: str
    unit: str
    kind: str


class Vocabulary(msgspec.Struct, frozen=True):
    """What a `schema_id` in the file means. `numbers` are in the order of m1, m2, …; texts lie in `extra` by name."""

    device_type: str
    version: int
    numbers: list[Metric]
    texts: list[Metric]


class Origin(msgspec.Struct, frozen=True):
    """What a `device_pk` in the file means: its id, its tenant's and its type's slug when it was archived."""

    device: str
    tenant: str
    device_type: str
    readings: int


class Manifest(msgspec.Struct, frozen=True):
    """All that is needed to read the file without the database, and to know that it is whole."""

    format: int
    day: date
    part: int
    file: str
    size: int
    file_digest: str
    digest: str
    digest_of: str
    rows: int
    width: int
    first_ts: datetime
    last_ts: datetime
    written_at: datetime
    written_by: str
    columns: list[Column]
    schemas: dict[int, Vocabulary]
    devices: dict[int, Origin]
