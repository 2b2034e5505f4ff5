"""What Django cannot say: what was approved stays as it was approved, and evidence is never changed."""

from django.db import migrations

FORWARD = """
CREATE TRIGGER firmware_verdict_append_only BEFORE UPDATE OR DELETE ON firmware_verdict
    FOR EACH ROW EXECUTE FUNCTION devices_refuse_change();
CREATE TRIGGER firmware_artifact_stays BEFORE UPDATE ON firmware_artifact
    FOR EACH ROW EXECUTE FUNCTION devices_refuse_change();
CREATE TRIGGER firmware_signature_stays BEFORE UPDATE ON firmware_signature
    FOR EACH ROW EXECUTE FUNCTION devices_refuse_change();

CREATE FUNCTION firmware_key_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.algorithm, NEW.public_key, NEW.fingerprint, NEW.not_before, NEW.not_after)
        IS DISTINCT FROM (OLD.algorithm, OLD.public_key, OLD.fingerprint, OLD.not_before, OLD.not_after)
        OR (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at) THEN
        RAISE EXCEPTION 'a trusted key is never changed, and never trusted again once revoked'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER firmware_key_stays BEFORE UPDATE ON firmware_trustedkey
    FOR EACH ROW EXECUTE FUNCTION firmware_key_stays();

-- The plan of an approved campaign: to change it is to void the approval (the same UPDATE leads back to draft).
CREATE FUNCTION firmware_plan_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.approved_at IS NOT NULL AND NEW.approved_at IS NOT NULL
        AND (NEW.release_id, NEW.rollback_of_id, NEW.tags, NEW.versions, NEW.ring_id, NEW.continuous, NEW.spread_sites,
             NEW.max_concurrent, NEW.offers_per_minute, NEW.use_windows, NEW.reboot_jitter, NEW.download_attempts,
             NEW.rolls_back, NEW.error_rate, NEW.offline_rate, NEW.reject_rate, NEW.burn_rate, NEW.success_target, NEW.min_executed,
             NEW.offline_grace, NEW.verify_time, NEW.install_timeout, NEW.stage_timeout, NEW.author_id,
             NEW.approved_by_id, NEW.approved_digest)
        IS DISTINCT FROM
            (OLD.release_id, OLD.rollback_of_id, OLD.tags, OLD.versions, OLD.ring_id, OLD.continuous, OLD.spread_sites,
             OLD.max_concurrent, OLD.offers_per_minute, OLD.use_windows, OLD.reboot_jitter, OLD.download_attempts,
             OLD.rolls_back, OLD.error_rate, OLD.offline_rate, OLD.reject_rate, OLD.burn_rate, OLD.success_target, OLD.min_executed,
             OLD.offline_grace, OLD.verify_time, OLD.install_timeout, OLD.stage_timeout, OLD.author_id,
             OLD.approved_by_id, OLD.approved_digest) THEN
        RAISE EXCEPTION 'the plan of an approved campaign is not edited: an edit voids the approval'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER firmware_plan_stays BEFORE UPDATE ON firmware_campaign
    FOR EACH ROW EXECUTE FUNCTION firmware_plan_stays();
-- Updates move a dozen times each: leave room, so that what touches no index stays on its page.
ALTER TABLE firmware_update SET (fillfactor = 80);
"""
REVERSE = """
ALTER TABLE firmware_update RESET (fillfactor);
DROP TRIGGER firmware_plan_stays ON firmware_campaign;
DROP FUNCTION firmware_plan_stays();
DROP TRIGGER firmware_key_stays ON firmware_trustedkey;
DROP FUNCTION firmware_key_stays();
DROP TRIGGER firmware_signature_stays ON firmware_signature;
DROP TRIGGER firmware_artifact_stays ON firmware_artifact;
DROP TRIGGER firmware_verdict_append_only ON firmware_verdict;
"""


class Migration(migrations.Migration):
    dependencies = [("firmware", "0001_initial"), ("devices", "0003_tags_and_slots")]
    operations = [migrations.RunSQL(FORWARD, REVERSE)]
