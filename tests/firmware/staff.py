"""A member of staff in the firmware room: presses the buttons of campaigns."""

from django.urls import reverse

from tests.devices.desk import ROLES, Desk

AUTHOR, APPROVER, OPERATOR, SUPPORT = "Firmware author", "Firmware approver", "Fleet operator", "Support"
__all__ = ["APPROVER", "AUTHOR", "OPERATOR", "ROLES", "SUPPORT", "Press", "page"]


def page(name, *args, query=""):
    """Address of a page of campaigns."""
    return reverse(f"admin:firmware_campaign_{name}", args=args) + query


class Press(Desk):
    """One person, at a campaign's buttons."""

    def press(self, campaign, act, reason=None, **told):
        """Press a button; with a reason (or '') the question is answered, too."""
        data = told if reason is None else {"confirmed": "yes", "reason": reason} | told
        return self.post(page("act", campaign.pk, act), data)

    def sees(self, campaign) -> str:
        """The text of a campaign's own page."""
        response = self.client.get(page("change", campaign.pk))
        assert response.status_code == 200
        return response.content.decode()

    def buttons(self, campaign) -> list[str]:
        """Names of the acts that its page offers."""
        return [act.name for act in self.client.get(page("change", campaign.pk)).context["acts"]]
