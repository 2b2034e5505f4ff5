"""What Django cannot say: evidence is never changed, and a device's site and groups are of its own tenant."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION devices_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only evidence', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER devices_event_append_only BEFORE UPDATE OR DELETE ON devices_event
    FOR EACH ROW EXECUTE FUNCTION devices_refuse_change();
CREATE TRIGGER devices_certificate_kept BEFORE DELETE ON devices_certificate
    FOR EACH ROW EXECUTE FUNCTION devices_refuse_change();
CREATE FUNCTION devices_certificate_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.device_id, NEW.authority_id, NEW.serial, NEW.fingerprint, NEW.key_fingerprint, NEW.pem)
        IS DISTINCT FROM (OLD.device_id, OLD.authority_id, OLD.serial, OLD.fingerprint, OLD.key_fingerprint, OLD.pem)
        OR (OLD.revoked_at IS NOT NULL
            AND (NEW.revoked_at, NEW.state, NEW.reason) IS DISTINCT FROM (OLD.revoked_at, OLD.state, OLD.reason)) THEN
        RAISE EXCEPTION 'a certificate is evidence: never overwritten, and never trusted again once revoked'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER devices_certificate_stays BEFORE UPDATE ON devices_certificate
    FOR EACH ROW EXECUTE FUNCTION devices_certificate_stays();
-- Presence is rewritten all the time: leave room so that updates stay on their page and touch no index.
ALTER TABLE devices_presence SET (fillfactor = 70);

ALTER TABLE devices_site ADD CONSTRAINT site_of_tenant UNIQUE (id, tenant_id);
ALTER TABLE devices_device ADD CONSTRAINT device_site_of_its_tenant
    FOREIGN KEY (site_id, tenant_id) REFERENCES devices_site (id, tenant_id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE devices_claim ADD CONSTRAINT claim_site_of_its_tenant
    FOREIGN KEY (site_id, tenant_id) REFERENCES devices_site (id, tenant_id) DEFERRABLE INITIALLY DEFERRED;
CREATE FUNCTION devices_check_group() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT tenant_id FROM devices_device WHERE id = NEW.device_id)
        IS DISTINCT FROM (SELECT tenant_id FROM devices_group WHERE id = NEW.group_id) THEN
        RAISE EXCEPTION 'a device joins groups of its own tenant only'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER devices_group_of_its_tenant BEFORE INSERT OR UPDATE ON devices_device_groups
    FOR EACH ROW EXECUTE FUNCTION devices_check_group();
"""
REVERSE = """
DROP TRIGGER devices_group_of_its_tenant ON devices_device_groups;
DROP FUNCTION devices_check_group();
ALTER TABLE devices_claim DROP CONSTRAINT claim_site_of_its_tenant;
ALTER TABLE devices_device DROP CONSTRAINT device_site_of_its_tenant;
ALTER TABLE devices_site DROP CONSTRAINT site_of_tenant;
ALTER TABLE devices_presence RESET (fillfactor);
DROP TRIGGER devices_certificate_stays ON devices_certificate;
DROP FUNCTION devices_certificate_stays();
DROP TRIGGER devices_certificate_kept ON devices_certificate;
DROP TRIGGER devices_event_append_only ON devices_event;
DROP FUNCTION devices_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("devices", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, REVERSE)]
