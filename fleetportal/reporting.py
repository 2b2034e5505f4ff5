"""What Django's own error reports (debug page, mails to administrators) must not show."""

import re
from typing import Any

from django.views.debug import SafeExceptionReporterFilter

_CREDENTIALS = re.compile(r"://[^/@\s]*@")


class Filter(SafeExceptionReporterFilter):
    """Hides more settings than Django does: PINs, the name of the ingest group, credentials in any URL."""

    hidden_settings = re.compile("API|AUTH|TOKEN|KEY|SECRET|PASS|SIGNATURE|HTTP_COOKIE|PIN|GROUP", re.IGNORECASE)

    def cleanse_setting(self, key: Any, value: Any) -> Any:
        """Hide by the setting's name, and credentials wherever they stand."""
        cleansed = super().cleanse_setting(key, value)
        if isinstance(cleansed, str):
            return _CREDENTIALS.sub(f"://{self.cleansed_substitute}@", cleansed)
        return cleansed
