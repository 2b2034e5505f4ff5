"""Do we keep our promises?"""

from django.apps import AppConfig


class OperationsConfig(AppConfig):
    """Registers this room's audits, and where help with their findings is."""

    name = "operations"

    def ready(self) -> None:
        """A room above or below adds its own audits in the same way."""
        from devices import runbooks
        from devices.auditing import add_audit
        from operations import audits, broker_audits, certificate_audits, joining_audits

        chosen = [*certificate_audits.AUDITS, *broker_audits.AUDITS, *joining_audits.AUDITS]
        for each in chosen:
            add_audit(each)
        own = {kind for each in chosen for kind in each.kinds} | {audits.FAILED, audits.OVERFLOW}
        compromised = (
            "key_shared", "takeovers", "handshakes_refused", "acl_broad", "device_door_open", "portal_door_open"
        )  # fmt: skip
        runbooks.add_kinds(
            dict.fromkeys(own, runbooks.INDEX)
            | dict.fromkeys(compromised, runbooks.COMPROMISED)
            | dict.fromkeys(("crl_expiring", "crl_old"), runbooks.CRL_EXPIRY)
            | {"ca_expiring": runbooks.CA_EXPIRY, "certificate_expired": runbooks.MASS}
        )
