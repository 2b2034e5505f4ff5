"""Forms of staff about people: whose address is whose, who is left to make people, and why a password was set."""

from typing import Any

from allauth.core import context
from django.contrib.auth import get_user_model
from django.contrib.auth.forms import (
    AdminPasswordChangeForm,
    AdminUserCreationForm,
    ReadOnlyPasswordHashWidget,
    UserChangeForm,
)
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from devices.audited import WHY, WhyMixin, why_field
from devices.people import addresses, credentials

TAKEN = "Somebody who is active has this address. Each person signs in with one of their own."
LAST = "Nobody would be left who may make people: somebody else must be a superuser first."
LABELS = {
    "username": "User name",
    "email": "E-mail address",
    "is_staff": "Staff",
    "is_superuser": "Superuser",
    "groups": "Roles",
    "user_permissions": "Rights besides roles",
}
HELP = {
    "email": "They sign in with it, and set a forgotten password anew by it. Kept in small letters.",
    "is_active": "Who is not active cannot sign in, and neither can their API tokens and apps. Nobody is removed.",
    "is_staff": "May use this admin, as far as their roles go, and sees all tenants.",
    "is_superuser": "May do everything, and make people.",
    "groups": "What they may do: docs/roles.md lists it.",
    "user_permissions": "Better none: nobody finds them again.",
}


class HiddenHash(ReadOnlyPasswordHashWidget):
    """Whether there is a password: nobody needs parts of what is kept of it."""

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        """Set, or not."""
        context: dict[str, Any] = super().get_context(name, value, attrs)
        if any("value" in each for each in context["summary"]):
            context["summary"] = [{"label": "Set"}]
        return context


def _say_plainly(form: Any) -> None:
    """What Django's fields of passwords say, in the portal's words."""
    field = form.fields["usable_password"]
    field.label = "Signs in with a password"
    field.choices = [("true", "Yes"), ("false", "No")]
    field.help_text = "No: by passkey, or by a link to set a password, which they ask for with their address."


class AddressMixin:
    """One person, one address."""

    def clean_email(self) -> str:
        """As it is kept."""
        return addresses.normal(self.cleaned_data.get("email") or "")  # type: ignore[attr-defined]

    def clean(self) -> Any:
        """Nobody else's; also where somebody becomes active again."""
        told: Any = super().clean()  # type: ignore[misc]
        form: Any = self
        email, active = form.cleaned_data.get("email"), form.cleaned_data.get("is_active", True)
        if email and active and addresses.is_taken(email, form.instance.pk):
            form.add_error("email", TAKEN)
        return told


class PersonForm(AddressMixin, UserChangeForm):
    """Somebody's account."""

    class Meta(UserChangeForm.Meta):
        labels = LABELS
        help_texts = HELP

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "password" in self.fields:  # whoever may only look sees none
            self.fields["password"].widget = HiddenHash()
            self.fields["password"].help_text = "Nobody can read it."

    def clean(self) -> Any:
        """Somebody is left who may make people."""
        told: Any = super().clean()
        stays = self.cleaned_data.get("is_active") and self.cleaned_data.get("is_superuser")
        if stays:
            return told
        # Locked until the form is saved: of two who go at once, one stays.
        able = get_user_model().objects.filter(is_active=True, is_superuser=True).order_by("pk")
        left = set(able.select_for_update(no_key=True).values_list("pk", flat=True))
        if left == {self.instance.pk}:
            raise ValidationError(LAST)
        return told


class NewPersonForm(AddressMixin, AdminUserCreationForm):
    """A new account, with the address by which a forgotten password is set anew."""

    class Meta(AdminUserCreationForm.Meta):
        fields = ("username", "email")
        labels = LABELS
        help_texts = HELP

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _say_plainly(self)


class PasswordForm(WhyMixin, AdminPasswordChangeForm):
    """A password that staff set for somebody: as any new one, it ends what the old one gave. It asks why."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields[WHY] = why_field()
        _say_plainly(self)

    @sensitive_variables()
    def save(self, commit: bool = True) -> Any:
        """Together with what ends by it."""
        with transaction.atomic():
            user = super().save(commit)
            credentials.password_set(user, "account.password_set", timezone.now(), by=context.request.user)
        return user
