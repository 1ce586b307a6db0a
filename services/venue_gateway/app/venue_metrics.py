"""What is measured of venues."""

from __future__ import annotations

from libs.common.metrics import Metrics


class GatewayMetrics:
    """Metrics of all venues, by venue name."""

    def __init__(self, metrics: Metrics) -> None:
        venue = ("venue",)
        self.session = metrics.gauge("ballast_gateway_venue_session_state", "1 while the venue is connected.", venue)
        self.silence = metrics.gauge(
            "ballast_gateway_venue_silence_seconds", "Since the connected venue was last heard.", venue
        )
        self.epoch = metrics.gauge("ballast_gateway_venue_session_sequence", "Epoch of the venue's session.", venue)
        self.orders_sent = metrics.counter("ballast_gateway_orders_sent_total", "Orders sent to the venue.", venue)
        self.given_up = metrics.counter("ballast_gateway_orders_given_up_total", "Orders the venue never had.", venue)
        self.posted = metrics.counter("ballast_gateway_reports_posted_total", "Reports sent to the ledger.", venue)
        self.unrecorded = metrics.gauge(
            "ballast_gateway_reports_unacknowledged_count", "Reports received and not in accepted frames.", venue
        )
        self.round_trip = metrics.histogram(
            "ballast_gateway_order_round_trip_seconds", "From order sent to its first report.", venue
        )
        self.books = metrics.counter("ballast_gateway_books_published_total", "Books published.", venue)


class VenueMetrics:
    """Metrics of one venue."""

    def __init__(self, metrics: GatewayMetrics, venue: str) -> None:
        self.session = metrics.session.labels(venue)
        self.silence = metrics.silence.labels(venue)
        self.epoch = metrics.epoch.labels(venue)
        self.orders_sent = metrics.orders_sent.labels(venue)
        self.given_up = metrics.given_up.labels(venue)
        self.posted = metrics.posted.labels(venue)
        self.unrecorded = metrics.unrecorded.labels(venue)
        self.round_trip = metrics.round_trip.labels(venue)
