"""Why an update ended, in the words of staff: the codes of the portal and of devices. Pure."""

_WORDS = {
    "aborted": "The campaign was aborted",
    "already_installed": "Runs this version already",
    "anti_rollback": "Runs a newer version",
    "battery": "Too little battery",
    "boot_failed": "The new version did not start",
    "campaign_ended": "The campaign had ended",
    "download": "The download broke off again and again",
    "elsewhere": "Runs another version by now",
    "hash": "The file was damaged on its way",
    "incompatible": "Not made for what it runs",
    "mqtt_missing": "Speaks HTTPS only",
    "no_release": "Its earlier version is not here",
    "no_space": "Too little free space",
    "not_active": "Not in service",
    "offline": "Away all the time",
    "penalty_box": "Its updates failed again and again",
    "removed": "Taken out of service",
    "rolled_back": "The campaign was rolled back",
    "self_check": "Its self-check did not pass",
    "signature": "The signature is not good",
    "slot": "It could not be written",
    "superseded": "Another campaign took its place",
    "taken_back": "Led back by a rollback",
    "timeout": "Took too long",
    "too_large": "Larger than its slot",
    "unknown": "It did not say",
    "unresponsive": "Online, and did nothing with it",
    "version_blocked": "This version is blocked for it",
    "withdrawn": "The offer was withdrawn",
}


def words(code: str) -> str:
    """For people; a code that only a device knows, as it says it."""
    return _WORDS.get(code, code.replace("_", " ").capitalize())
