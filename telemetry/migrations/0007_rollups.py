"""The queue of touched buckets is emptied every minute: its dead rows make room by their number, not by a share of it."""

from django.db import migrations

FORWARD = "ALTER TABLE telemetry_touched SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000)"
REVERSE = "ALTER TABLE telemetry_touched RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold)"


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0006_deadletters")]
    operations = [migrations.RunSQL(FORWARD, REVERSE)]
