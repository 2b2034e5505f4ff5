"""The roots of all domain errors. Each has a stable `code`; doors turn them into answers (problems.py, the admin)."""


class DomainError(Exception):
    """Somebody asked for what cannot be. The text is for people and never holds a secret."""

    code = "domain_error"
    status = 400
    """HTTP status of the answer: always the caller's fault (4xx)."""

    def __init__(self, detail: str, code: str = "", status: int = 0) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.code
        self.status = status or self.status


class DeviceError(DomainError):
    """About a device or its state."""

    code = "device_error"


class ProvisioningError(DomainError):
    """An enrolment was refused."""

    code = "provisioning_refused"


class CertificateError(DomainError):
    """A certificate request, certificate or key is not acceptable."""

    code = "certificate_error"
    key = ""
    """Fingerprint of the key it is about, where a finding will need it."""


class TokenError(DomainError):
    """A device's token is not known, or no longer good."""

    code = "token_refused"
    status = 401
