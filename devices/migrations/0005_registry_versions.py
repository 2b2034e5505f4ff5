"""What lets processes keep devices in memory: each row says which transaction changed it last. And what clocks show."""

from django.db import migrations, models

FORWARD = """
-- Only what devices/registry.py keeps in memory counts: a new name or tag makes nobody forget anything.
ALTER TABLE devices_device ADD COLUMN changed_xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX device_by_change ON devices_device (changed_xid);
CREATE FUNCTION devices_mark_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_xid := pg_current_xact_id();
    RETURN NEW;
END $$;
CREATE TRIGGER devices_device_changed BEFORE UPDATE ON devices_device FOR EACH ROW
    WHEN ((OLD.id, OLD.device_id, OLD.tenant_id, OLD.device_type_id, OLD.state)
        IS DISTINCT FROM (NEW.id, NEW.device_id, NEW.tenant_id, NEW.device_type_id, NEW.state))
    EXECUTE FUNCTION devices_mark_changed();

-- Transactions after which everything in memory is forgotten. Rare, so nobody rewrites a row for each device of a
-- tenant; and rows are only added, so nobody waits for anybody.
CREATE TABLE devices_upheaval (changed_xid xid8 PRIMARY KEY DEFAULT pg_current_xact_id());
CREATE FUNCTION devices_mark_upheaval() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO devices_upheaval DEFAULT VALUES ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER devices_tenant_upheaval AFTER UPDATE ON devices_tenant FOR EACH ROW
    WHEN ((OLD.slug, OLD.telemetry_per_minute) IS DISTINCT FROM (NEW.slug, NEW.telemetry_per_minute))
    EXECUTE FUNCTION devices_mark_upheaval();
CREATE TRIGGER devices_devicetype_upheaval AFTER UPDATE ON devices_devicetype FOR EACH ROW
    WHEN ((OLD.slug, OLD.telemetry_per_minute) IS DISTINCT FROM (NEW.slug, NEW.telemetry_per_minute))
    EXECUTE FUNCTION devices_mark_upheaval();
CREATE TRIGGER devices_device_deleted AFTER DELETE ON devices_device FOR EACH STATEMENT
    EXECUTE FUNCTION devices_mark_upheaval();
CREATE TRIGGER devices_device_truncated AFTER TRUNCATE ON devices_device FOR EACH STATEMENT
    EXECUTE FUNCTION devices_mark_upheaval();
"""
REVERSE = """
DROP TRIGGER devices_device_truncated ON devices_device;
DROP TRIGGER devices_device_deleted ON devices_device;
DROP TRIGGER devices_devicetype_upheaval ON devices_devicetype;
DROP TRIGGER devices_tenant_upheaval ON devices_tenant;
DROP FUNCTION devices_mark_upheaval();
DROP TABLE devices_upheaval;
DROP TRIGGER devices_device_changed ON devices_device;
DROP FUNCTION devices_mark_changed();
ALTER TABLE devices_device DROP COLUMN changed_xid;
"""


class Migration(migrations.Migration):
    dependencies = [("devices", "0004_telemetry_budgets")]
    operations = [
        migrations.RunSQL(FORWARD, REVERSE),
        migrations.AddField(
            model_name="presence",
            name="skew_ms",
            field=models.BigIntegerField(
                help_text="Received − its time (ms), as the last birth or telling reading had it; above zero: its clock is behind.",
                null=True,
            ),
        ),
    ]
