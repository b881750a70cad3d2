"""Which of our answers a request gets that aiohttp's parser has refused."""

import re

from aiohttp.http_exceptions import BadHttpMethod, BadStatusLine, LineTooLong

from tokenproxy.proxy.answers import METHODS, Answer, ErrorCode, answer

# aiohttp's parser has no other word for these than the beginning of its message.
_TOO_MANY_FIELDS = re.compile(r"Too many headers received")
_VERSION = re.compile(r"Bad status line:\s+Invalid HTTP version:")
_TRACK = re.compile(r"Invalid method encountered:\s+b['\"]TRACK ")

_DETAILS = {
    ErrorCode.HEAD_TOO_LARGE: "The request's head is too large.",
    ErrorCode.METHOD_NOT_ALLOWED: "This method is not for a proxy of this kind.",
    ErrorCode.NOT_IMPLEMENTED: "The request's method is not known.",
    ErrorCode.VERSION_NOT_SUPPORTED: "The proxy speaks HTTP/1.1.",
    ErrorCode.BAD_REQUEST: "The request is not well-formed HTTP.",
    ErrorCode.INTERNAL_ERROR: "The proxy has failed on this request; its log tells more.",
}


def refused(code: ErrorCode) -> Answer:
    """The answer, after which the connection closes: where the next request begins is unknown."""
    allow = METHODS if code is ErrorCode.METHOD_NOT_ALLOWED else None
    return answer(code, detail=_DETAILS[code], allow=allow, close=True)


def code_for(status: int, error: BaseException | None) -> ErrorCode:
    """What stands for aiohttp's status and error."""
    text = str(getattr(error, "message", ""))
    match error:
        case LineTooLong():
            return ErrorCode.HEAD_TOO_LARGE
        case BadHttpMethod():
            known = _TRACK.match(text)
            return ErrorCode.METHOD_NOT_ALLOWED if known else ErrorCode.NOT_IMPLEMENTED
        case BadStatusLine() if _VERSION.match(text):
            return ErrorCode.VERSION_NOT_SUPPORTED
        case _ if _TOO_MANY_FIELDS.match(text):
            return ErrorCode.HEAD_TOO_LARGE
        case _:
            is_ours = status >= ErrorCode.INTERNAL_ERROR.status
            return ErrorCode.INTERNAL_ERROR if is_ours else ErrorCode.BAD_REQUEST
