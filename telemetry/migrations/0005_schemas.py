"""What Django cannot say: whatever changes in a schema version, stored arrays keep their meaning."""

from django.db import migrations, models

FORWARD = """
CREATE FUNCTION telemetry_metric_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'a metric stays: stored readings have a place for it'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF (NEW.id, NEW.schema_id, NEW.position, NEW.name, NEW.kind, NEW.unit)
        IS DISTINCT FROM (OLD.id, OLD.schema_id, OLD.position, OLD.name, OLD.kind, OLD.unit) THEN
        RAISE EXCEPTION 'place, name, kind and unit of a metric never change: cut a new version'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.required AND NOT OLD.required
        OR NEW.kind IN ('number', 'integer')
            AND (coalesce(NEW.minimum, '-infinity') > coalesce(OLD.minimum, '-infinity')
                OR coalesce(NEW.maximum, 'infinity') < coalesce(OLD.maximum, 'infinity')) THEN
        RAISE EXCEPTION 'a metric never refuses what it took before: cut a new version'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER telemetry_metric_stays BEFORE UPDATE OR DELETE ON telemetry_metric
    FOR EACH ROW EXECUTE FUNCTION telemetry_metric_stays();

CREATE FUNCTION telemetry_metric_joins() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.position <= (SELECT max(position) FROM telemetry_metric WHERE schema_id = NEW.schema_id) THEN
        RAISE EXCEPTION 'a new metric goes to the end: stored values are found by their place'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.required AND (EXISTS (SELECT FROM telemetry_schema WHERE id = NEW.schema_id AND revision > 1)
        OR EXISTS (SELECT FROM telemetry_latest WHERE schema_id = NEW.schema_id)) THEN
        RAISE EXCEPTION 'a metric that joins a version in use is optional'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER telemetry_metric_joins BEFORE INSERT ON telemetry_metric
    FOR EACH ROW EXECUTE FUNCTION telemetry_metric_joins();

CREATE FUNCTION telemetry_schema_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.device_type_id, NEW.version) IS DISTINCT FROM (OLD.id, OLD.device_type_id, OLD.version)
        OR OLD.open AND NOT NEW.open OR NEW.revision < OLD.revision THEN
        RAISE EXCEPTION 'a version keeps its type and number, stays open, and its revision only grows'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER telemetry_schema_stays BEFORE UPDATE ON telemetry_schema
    FOR EACH ROW EXECUTE FUNCTION telemetry_schema_stays();
"""
REVERSE = """
DROP TRIGGER telemetry_schema_stays ON telemetry_schema;
DROP FUNCTION telemetry_schema_stays();
DROP TRIGGER telemetry_metric_joins ON telemetry_metric;
DROP FUNCTION telemetry_metric_joins();
DROP TRIGGER telemetry_metric_stays ON telemetry_metric;
DROP FUNCTION telemetry_metric_stays();
"""


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0004_rollup_tables")]
    operations = [
        migrations.AddConstraint(
            model_name="metric",
            constraint=models.CheckConstraint(
                condition=models.Q(("name__regex", "^[a-z][a-z0-9_]*$")), name="metric_name_plain"
            ),
        ),
        migrations.AddConstraint(
            model_name="metric",
            constraint=models.CheckConstraint(condition=models.Q(("position__lt", 200)), name="metric_room"),
        ),
        migrations.RunSQL(FORWARD, REVERSE),
    ]
