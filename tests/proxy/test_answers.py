import json
import math

import pytest

from tokenproxy.errors import (
    ConfigError,
    Overloaded,
    SourceRefused,
    SourceUnavailable,
    StoreError,
    UpstreamError,
    UpstreamFault,
)
from tokenproxy.proxy.answers import (
    Answer,
    ErrorCode,
    answer,
    error_answer,
    for_error,
    options_answer,
)

CONTRACT = {
    "bad_request": 400,
    "client_key_required": 401,
    "origin_not_allowed": 403,
    "path_not_allowed": 403,
    "client_authorization_rejected": 403,
    "no_route": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "host_not_allowed": 421,
    "unsupported_media_type": 415,
    "head_too_large": 431,
    "internal_error": 500,
    "not_implemented": 501,
    "login_required": 502,
    "upstream_unreachable": 502,
    "upstream_protocol_error": 502,
    "upstream_tls_error": 502,
    "token_unavailable": 503,
    "overloaded": 503,
    "upstream_timeout": 504,
    "version_not_supported": 505,
}

# RFC 9209 2.3, all of them.
WORDS = {
    "dns_timeout",
    "dns_error",
    "destination_not_found",
    "destination_unavailable",
    "destination_ip_prohibited",
    "destination_ip_unroutable",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_read_timeout",
    "connection_write_timeout",
    "connection_limit_reached",
    "tls_protocol_error",
    "tls_certificate_error",
    "tls_alert_received",
    "http_request_error",
    "http_request_denied",
    "http_response_incomplete",
    "http_response_header_section_size",
    "http_response_header_size",
    "http_response_body_size",
    "http_response_trailer_section_size",
    "http_response_trailer_size",
    "http_response_transfer_coding",
    "http_response_content_coding",
    "http_response_timeout",
    "http_upgrade_failed",
    "http_protocol_error",
    "proxy_internal_response",
    "proxy_internal_error",
    "proxy_configuration_error",
    "proxy_loop_detected",
}


def header(made: Answer, name: bytes) -> bytes | None:
    values = [value for key, value in made.headers if key == name]
    assert len(values) < 2
    return values[0] if values else None


def test_the_codes_are_those_of_the_contract() -> None:
    assert {code.value: code.status for code in ErrorCode} == CONTRACT


@pytest.mark.parametrize("code", ErrorCode)
def test_an_answer_is_a_problem_document(code: ErrorCode) -> None:
    made = answer(code, detail="It is so.", route="shop")
    assert made.status == code.status
    assert json.loads(made.body) == {
        "type": f"urn:tokenproxy:error:{code.value}",
        "title": code.title,
        "status": code.status,
        "detail": "It is so.",
        "code": code.value,
        "route": "shop",
    }
    assert header(made, b"Content-Type") == b"application/problem+json"
    assert header(made, b"Content-Length") == str(len(made.body)).encode()
    assert header(made, b"Cache-Control") == b"no-store"
    assert header(made, b"X-Content-Type-Options") == b"nosniff"
    policy = header(made, b"Content-Security-Policy")
    assert policy == b"default-src 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize("code", ErrorCode)
def test_proxy_status_is_said_in_words_of_rfc_9209(code: ErrorCode) -> None:
    value = header(answer(code, detail=""), b"Proxy-Status")
    if code.proxy_error is None:
        assert code.status in {501, 505}
        assert value is None
    else:
        assert code.proxy_error in WORDS
        assert value == f"tokenproxy; error={code.proxy_error}".encode()


def test_without_a_route_the_problem_says_so() -> None:
    assert json.loads(answer(ErrorCode.NO_ROUTE, detail="").body)["route"] is None


@pytest.mark.parametrize(
    ("wait", "sent"),
    [
        (0, b"1"),
        (-3, b"1"),
        (0.2, b"1"),
        (1.0, b"1"),
        (1.01, b"2"),
        (86400, b"300"),
        (math.inf, b"300"),
        (math.nan, b"1"),
    ],
)
def test_retry_after_is_in_whole_seconds_rounded_up(wait: float, sent: bytes) -> None:
    made = answer(ErrorCode.TOKEN_UNAVAILABLE, detail="", retry_after=wait)
    assert header(made, b"Retry-After") == sent


@pytest.mark.parametrize("code", ErrorCode)
def test_only_the_codes_that_pass_say_when_to_come_back_by_themselves(code: ErrorCode) -> None:
    says = header(answer(code, detail=""), b"Retry-After") is not None
    assert says is (code in {ErrorCode.TOKEN_UNAVAILABLE, ErrorCode.OVERLOADED})


def test_allow_and_close_are_passed_on() -> None:
    made = answer(ErrorCode.METHOD_NOT_ALLOWED, detail="", allow=b"GET", close=True)
    assert header(made, b"Allow") == b"GET"
    assert made.close
    assert not answer(ErrorCode.NO_ROUTE, detail="").close
    assert header(answer(ErrorCode.NO_ROUTE, detail=""), b"Allow") is None


def test_options_asked_of_the_proxy_itself_gets_no_content() -> None:
    made = options_answer()
    assert (made.status, made.body) == (204, b"")
    assert header(made, b"Allow") == b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
    assert header(made, b"Content-Length") is None  # RFC 9110 8.6: not in a 204


def refused(kind: UpstreamFault) -> UpstreamError:
    return UpstreamError("marker", kind)


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (SourceRefused("marker"), "login_required", "proxy_internal_response"),
        (SourceUnavailable("marker"), "token_unavailable", "proxy_internal_response"),
        (StoreError("marker"), "token_unavailable", "proxy_internal_response"),
        (refused(UpstreamFault.UNREACHABLE), "upstream_unreachable", "destination_unavailable"),
        (refused(UpstreamFault.BROKE_OFF), "upstream_unreachable", "connection_terminated"),
        (refused(UpstreamFault.PROTOCOL), "upstream_protocol_error", "http_protocol_error"),
        (refused(UpstreamFault.TLS), "upstream_tls_error", "tls_protocol_error"),
        (refused(UpstreamFault.CONNECT_TIMEOUT), "upstream_timeout", "connection_timeout"),
        (refused(UpstreamFault.RESPONSE_TIMEOUT), "upstream_timeout", "http_response_timeout"),
        (Overloaded("marker"), "overloaded", "connection_limit_reached"),
        (ConfigError("marker"), "internal_error", "proxy_internal_error"),
        (ValueError("marker"), "internal_error", "proxy_internal_error"),
    ],
)
def test_every_error_has_its_code_and_none_is_shown(error: Exception, code: str, word: str) -> None:
    made = error_answer(error, "shop")
    problem = json.loads(made.body)
    assert made.code is not None
    assert made.code.value == code
    assert (problem["code"], problem["route"]) == (code, "shop")
    assert header(made, b"Proxy-Status") == f"tokenproxy; error={word}".encode()
    assert problem["detail"].endswith(".")
    assert b"marker" not in made.body + repr(made.headers).encode()


def test_every_kind_of_upstream_fault_has_a_sentence_of_its_own() -> None:
    details = {for_error(refused(kind)).detail for kind in UpstreamFault}
    assert len(details) == len(UpstreamFault)


def test_the_issuers_wait_is_passed_on() -> None:
    made = error_answer(SourceUnavailable("", retry_after=12.1), "shop")
    assert header(made, b"Retry-After") == b"13"
