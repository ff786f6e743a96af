"""The bytes of ``data:`` URIs."""

from __future__ import annotations

import binascii

import pybase64

from pixano_inference.errors import InvalidInput

_WHITESPACE = str.maketrans("", "", " \t\r\n")


def decode_data_uri(reference: str, location: tuple[str | int, ...] = ()) -> bytes:
    """Return the bytes of ``data:<type>;base64,<text>``.

    Line breaks in the text and missing padding are accepted, since encoders differ in them. The media type is not
    believed: the decoder looks at the bytes.

    Raises:
        InvalidInput: There is no base64 text, or it is not base64, or it is empty.
    """
    head, comma, text = reference.partition(",")
    # RFC 2397: parameters follow the type, ";base64" is the last one
    if not comma or not head.lower().rstrip().endswith(";base64"):
        raise InvalidInput(
            "a data URI must have the form data:<type>;base64,<text>", code="data_uri", location=location or None
        )
    try:
        data = pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        try:
            text = text.translate(_WHITESPACE)
            data = pybase64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise InvalidInput("the data URI is not valid base64", code="data_uri", location=location or None) from None
    if not data:
        raise InvalidInput("the data URI is empty", code="data_uri", location=location or None)
    return data
