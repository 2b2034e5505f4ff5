"""The rollups' tables: minutes partitioned by day, hours by month, each with a DEFAULT partition for strays."""

from django.db import migrations

TABLE = """
CREATE TABLE {table} (
    device_id   int         NOT NULL,
    start       timestamptz NOT NULL,
    schema_id   smallint    NOT NULL,
    readings    int         NOT NULL,
    counts      int[]       NOT NULL,
    lows        float8[]    NOT NULL,
    highs       float8[]    NOT NULL,
    sums        float8[]    NOT NULL,
    lasts       float8[]    NOT NULL,
    PRIMARY KEY (device_id, start, schema_id)
) PARTITION BY RANGE (start);
CREATE TABLE {table}_default PARTITION OF {table} DEFAULT;
"""
TABLES = ["telemetry_minute", "telemetry_hour"]


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0003_at_rate")]
    operations = [migrations.RunSQL(TABLE.format(table=table), f"DROP TABLE {table}") for table in TABLES]
