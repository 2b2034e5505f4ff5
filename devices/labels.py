"""Labels of devices that are sold: the address where their code is redeemed, as a QR code (SVG). Pure."""

from urllib.parse import urlencode

import qrcode
from qrcode.constants import ERROR_CORRECT_M
from qrcode.image.svg import SvgPathImage


def address(page: str, code: str) -> str:
    """What a phone opens: the page that adds devices, with the code filled in."""
    return f"{page}?{urlencode({'code': code})}"


def drawing(text: str) -> str:
    """An `<svg>` element without style or script: black modules on a quiet zone of four."""
    made = qrcode.QRCode(border=4, error_correction=ERROR_CORRECT_M, image_factory=SvgPathImage)
    made.add_data(text)
    drawn: str = made.make_image().to_string(encoding="unicode")
    return drawn
