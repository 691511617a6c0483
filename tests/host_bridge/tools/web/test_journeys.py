"""A request's way through redirects: each hop is decided about, and there is an end to them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import web_attacks

from host_bridge.errors import CallError, DeniedError
from host_bridge.policy.methods import request_to
from host_bridge.policy.model import UrlResource
from host_bridge.policy.origins import parse_url
from host_bridge.tools.http_request import HttpRequestSettings
from host_bridge.tools.web.journeys import Journey, WebSettings, is_elsewhere
from host_bridge.tools.web_extract import WebExtractSettings

START = "https://a.example/x/y?z"
SETTINGS: list[WebSettings] = [HttpRequestSettings(), WebExtractSettings()]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.tool)
class TestForBothTools:
    @pytest.mark.parametrize("location", web_attacks.REDIRECTS)
    def test_what_may_not_be_asked_is_not_decided_about(
        self, settings: WebSettings, make_context: Any, location: str
    ) -> None:
        context = make_context()
        journey = Journey(parse_url(START), settings, context)
        with pytest.raises(CallError, match="it redirects to"):
            journey.go_on(journey.target(location.format(port=8000), 302), 302, context)
        assert (context.asked, journey.hops, journey.url) == ([], [], parse_url(START))

    def test_each_hop_is_decided_about_and_remembered(self, settings: WebSettings, make_context: Any) -> None:
        context = make_context(allow=lambda resource: resource.host != "evil.example")
        journey = Journey(parse_url(START), settings, context)
        for location in ("/other", "//b.example/", "c d"):
            journey.go_on(journey.target(location, 302), 302, context)
        with pytest.raises(DeniedError, match=r"it redirects to https://evil\.example/: no rule allows it"):
            journey.go_on(journey.target("https://evil.example/", 302), 302, context)
        assert [hop.location for hop in journey.hops] == [
            *("https://a.example/other", "https://b.example/", "https://b.example/c%20d"),
        ]
        assert [resource.host for resource in context.asked] == ["a.example", "b.example", "b.example", "evil.example"]
        assert journey.url == parse_url("https://b.example/c%20d")

    def test_there_is_an_end(self, settings: WebSettings, make_context: Any) -> None:
        context = make_context()
        journey = Journey(parse_url(START), settings, context)
        for _ in range(settings.max_redirects):
            journey.go_on(journey.target("/again", 302), 302, context)
        with pytest.raises(CallError, match="more than 5 times"):
            journey.target("/again", 302)

    def test_its_time_ends_with_the_calls_or_the_hosts(self, settings: WebSettings, make_context: Any) -> None:
        short = Journey(parse_url(START), settings, make_context(timeout=5))
        assert 0 < short.seconds_left() < 5
        assert Journey(parse_url(START), settings, make_context(timeout=0.1)).seconds_left() <= 0
        journey = Journey(parse_url(START), settings, make_context(timeout=3600))
        assert 0 < journey.seconds_left() <= settings.timeout_seconds
        assert not journey.is_late


def test_a_request_goes_on_with_the_method_that_the_status_means(make_context: Any) -> None:
    journey = Journey(request_to("POST", START), SETTINGS[0], make_context())
    assert [journey.target("/there", status).method for status in (301, 302, 303, 307, 308)] == [
        *("GET", "GET", "GET", "POST", "POST"),
    ]


def test_another_place_is_another_scheme_host_or_port() -> None:
    here = parse_url(START)
    assert not is_elsewhere(here, dataclasses.replace(here, path="/", method="POST"))
    for other in ("http://a.example:443/", "https://b.example/", "https://a.example:8443/", "https://x.a.example/"):
        assert is_elsewhere(here, parse_url(other))
    assert isinstance(here, UrlResource)
