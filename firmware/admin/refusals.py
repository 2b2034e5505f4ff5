"""What a use case refuses, said where it belongs: at a field of the form, or as a message about the row."""

from collections.abc import Callable
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse

from devices.admin.base import ReadOnlyAdmin
from devices.errors import DomainError


class RefusableForm(forms.ModelForm):
    """A form whose answer a use case may refuse; the second time it is shown it says so."""

    refused: ClassVar[DomainError | None] = None
    at: ClassVar[dict[str, str]] = {}
    """Error code → the field it is about; others are said above the form."""

    def clean(self) -> dict[str, Any]:
        """With what the use case said."""
        told = super().clean() or self.cleaned_data
        if self.refused and not self.errors:
            self.add_error(self.at.get(self.refused.code), self.refused.detail)
        return told


class MadeByUseCase(ReadOnlyAdmin):
    """Rows that a form makes and nobody edits afterwards. Nothing that was typed is lost when they are refused."""

    _made_by = ""
    """The permission to make one."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The right to add is the right to make."""
        return request.user.has_perm(f"{self.opts.app_label}.add_{self.opts.model_name}")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """The form knows what was refused a moment ago."""
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        form.refused = getattr(request, "refused", None)
        return form

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """One button; a refusal comes back as an error of the form."""
        told = {"show_save_and_add_another": False, "show_save_and_continue": False, **(extra_context or {})}
        try:
            return super().add_view(request, form_url, told)
        except DomainError as error:
            request.refused = error  # type: ignore[attr-defined]  # lives as long as this request
            return super().add_view(request, form_url, told)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """The use case wrote everything, in its own transaction."""


def tried(request: HttpRequest, row: Any, act: Callable[[], bool | None]) -> bool:
    """Do it to a row. What is refused becomes a message, and the other rows still have their turn."""
    try:
        return act() is not False
    except DomainError as error:
        messages.error(request, f"{row}: {error.detail}")
        return False
