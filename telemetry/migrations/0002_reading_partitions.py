"""The readings' table: partitioned by day, with a DEFAULT partition that catches strays."""

from django.db import migrations

FORWARD = """
CREATE TABLE telemetry_reading (
    device_id   int         NOT NULL,
    ts          timestamptz NOT NULL,
    msg_id      uuid        NOT NULL,
    received_at timestamptz NOT NULL,
    schema_id   smallint    NOT NULL,
    flags       smallint    NOT NULL DEFAULT 0,
    metrics     float8[]    NOT NULL,
    extra       jsonb,
    PRIMARY KEY (device_id, ts, msg_id)
) PARTITION BY RANGE (ts);
CREATE TABLE telemetry_reading_default PARTITION OF telemetry_reading DEFAULT;
ALTER TABLE telemetry_latest SET (fillfactor = 70);
"""
REVERSE = """
ALTER TABLE telemetry_latest RESET (fillfactor);
DROP TABLE telemetry_reading;
"""


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, REVERSE)]
