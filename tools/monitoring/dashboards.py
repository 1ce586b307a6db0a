"""What each dashboard asks: five screens, from the whole house down to prices."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Args:
        why: what its reader decides by it.
        unit: as Grafana names it.
        queries: (PromQL, legend).
    """

    title: str
    why: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    least: float | None = 0


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One screen."""

    name: str
    title: str
    panels: tuple[Panel, ...]


def _quantiles(histogram: str, by: str = "") -> tuple[tuple[str, str], ...]:
    labels, legend = (f"le, {by}", f" {{{{{by}}}}}") if by else ("le", "")
    return tuple(
        (f"histogram_quantile({q}, sum by ({labels}) (rate({histogram}_bucket[1m])))", f"p{int(q * 100)}{legend}")
        for q in (0.5, 0.99)
    )


_OVERVIEW = Dashboard(
    "overview",
    "Overview",
    (
        Panel("Ready", "A service at 0 names what it waits for on /readyz", "short",
              (("min by (job) (ballast_service_ready_state)", "{{job}}"),), "stat"),
        Panel("Invariants", "0: broken; the runbook of its alert says what to do", "short",
              (("min by (invariant) (ballast_invariant_holds_state)", "{{invariant}}"),), "stat"),
        Panel("Objectives, 1 h", "Share that missed its objective", "percentunit",
              (("ballast:slo_errors:ratio_rate1h", "{{slo}}"),)),
        Panel("Mark to margin", "How old a margin is when it can be acted on", "s",
              _quantiles("ballast_risk_mark_to_margin_seconds")),
        Panel("Client command to outcome", "What clients feel", "s",
              _quantiles("ballast_gateway_client_command_seconds")),
        Panel("Commands", "Load on the ledger", "ops", (("ballast:commands:rate5m", "{{command}}"),)),
        Panel("Readers behind", "Who acts on an old state, in seconds", "s",
              (("ballast:reader_lag_seconds:max", "{{job}} {{topic}}"),)),
        Panel("Accounts by margin state", "How near the house is to liquidating", "short",
              (("ballast:accounts:count", "{{state}}"),)),
        Panel("Insurance fund", "What stands between a bankrupt account and lenders", "short",
              (("ballast:insurance_fund:amount", "{{asset}}"),)),
        Panel("Dead letters", "Records nobody could take", "short",
              (("sum by (job, topic) (ballast_dead_letters_total)", "{{job}} {{topic}}"),)),
        Panel("Memory", "", "bytes", (("process_resident_memory_bytes", "{{job}}"),)),
        Panel("Processor", "Cores in use", "short", (("rate(process_cpu_seconds_total[1m])", "{{job}}"),)),
    ),
)  # fmt: skip

_RISK = Dashboard(
    "risk",
    "Risk",
    (
        Panel("Accounts by margin state", "A wave of calls comes before a wave of episodes", "short",
              (("ballast:accounts:count", "{{state}}"),)),
        Panel("Mark to margin", "", "s", _quantiles("ballast_risk_mark_to_margin_seconds")),
        Panel("Margin frames", "Published a second", "ops",
              (("sum by (partition) (rate(ballast_risk_margin_frames_total[1m]))", "{{partition}}"),)),
        Panel("Decisions", "Sent to the ledger a second", "ops",
              (("sum by (kind) (rate(ballast_risk_decisions_total[1m]))", "{{kind}}"),)),
        Panel("Verdicts refused", "The ledger took another verdict, or the state had moved", "ops",
              (('sum(rate(ballast_ledger_refusals_total{command="verdict"}[1m])) or vector(0)', "refused"),)),
        Panel("Journal folded", "Partitions should move together", "short",
              (('ballast_book_journal_sequence{job="risk_evaluation"}', "{{partition}}"),)),
        Panel("Behind the journal", "Records", "short",
              (('ballast_log_lag_records{job="risk_evaluation"}', "{{topic}} {{partition}}"),)),
        Panel("Age of the frame folded last", "", "s", (("ballast_risk_journal_lag_seconds", "{{partition}}"),)),
        Panel("Marks silent", "1: nothing is decided", "short", (("ballast_risk_marks_silent_state", "{{job}}"),)),
    ),
)  # fmt: skip

_LEDGER = Dashboard(
    "ledger",
    "Ledger",
    (
        Panel("Commands", "", "ops", (("ballast:commands:rate5m", "{{command}}"),)),
        Panel("Refusals", "", "ops",
              (("sum by (command) (rate(ballast_ledger_refusals_total[5m]))", "{{command}}"),)),
        Panel("Frame built to accepted", "The floor under every latency of the house", "s",
              _quantiles("ballast_ledger_frame_accept_seconds")),
        Panel("Commands waiting", "Records not yet read by their partition's owner", "short",
              (('ballast_log_lag_records{topic="ledger.commands.v1"}', "{{partition}}"),)),
        Panel("Claims", "Changes of owner and hourly re-claims", "short",
              (('max by (partition) (ballast_log_claims_total{topic="ledger.journal.v1"})', "{{partition}}"),)),
        Panel("Noise on chained logs", "Records of writers that own nothing", "short",
              (("max by (topic, reason) (ballast_log_rejected_total)", "{{topic}} {{reason}}"),)),
        Panel("Idle by quota", "What a partition can still lend", "short",
              (("ballast_ledger_pool_idle_amount", "{{asset}} {{partition}}"),)),
        Panel("Utilisation", "", "percentunit", (("ballast_interest_utilisation_ratio", "{{asset}}"),)),
        Panel("Rates a year", "", "percentunit",
              (("ballast_interest_borrow_rate_ratio", "borrow {{asset}}"),
               ("ballast_interest_supply_rate_ratio", "supply {{asset}}"))),
        Panel("Insurance fund and house capital", "", "short",
              (("ballast:insurance_fund:amount", "insurance {{asset}}"),
               ("sum by (asset) (ballast_ledger_first_loss_amount)", "first loss {{asset}}"),
               ("sum by (asset) (ballast_ledger_second_capital_amount)", "second capital {{asset}}"))),
        Panel("Losses", "Bad debt not yet carried, and what each step of the waterfall paid", "short",
              (("ballast:bad_debt:amount", "bad debt {{asset}}"),
               ("sum by (asset, step) (ballast_ledger_waterfall_paid_total)", "{{step}} {{asset}}"))),
        Panel("Overdraft and suspense", "", "short",
              (("sum by (asset) (ballast_ledger_overdraft_amount)", "overdraft {{asset}}"),
               ("sum by (asset) (ballast_ledger_suspense_amount)", "suspense {{asset}}")), least=None),
        Panel("Ticks late", "Run time", "s", (("max by (asset) (ballast_interest_tick_late_seconds)", "{{asset}}"),)),
        Panel("In the books", "", "short",
              (('sum(ballast_book_accounts_count{job="collateral_management"})', "accounts"),
               ('sum(ballast_book_orders_count{job="collateral_management"})', "live orders"),
               ('sum(ballast_book_reservations_count{job="collateral_management"})', "pending reservations"))),
        Panel("Outflow", "Granted of what may leave beyond bases in the hour and the day", "percentunit",
              (("max by (asset, window) (ballast_ledger_outflow_used_ratio)", "{{asset}} {{window}}"),)),
        Panel("Gates closed", "1: nothing leaves the partition", "short",
              (("ballast_ledger_gate_closed_state", "{{partition}}"),)),
        Panel("Impaired venues", "What is lost or must stay", "percentunit",
              (("max by (venue) (ballast_ledger_venue_impaired_ratio)", "{{venue}}"),)),
    ),
)  # fmt: skip

_LIQUIDATION = Dashboard(
    "liquidation",
    "Liquidation",
    (
        Panel("Open episodes", "", "short", (("ballast_liquidation_open_episodes_count", "open"),)),
        Panel("Waiting for", "What holds episodes up", "short",
              (("ballast_liquidation_waiting_episodes_count", "{{reason}}"),)),
        Panel("Episode to first order", "", "s", _quantiles("ballast_liquidation_episode_to_order_seconds")),
        Panel("Plan", "Search for one plan, risk's answers included", "s",
              _quantiles("ballast_liquidation_plan_seconds", "kind")),
        Panel("Decisions", "", "ops", (("sum by (kind) (rate(ballast_liquidation_decisions_total[1m]))", "{{kind}}"),)),
        Panel("Slippage of fills", "Against the mark; positive is worse", "percentunit",
              _quantiles("ballast_liquidation_fill_slippage_ratio"), least=None),
        Panel("Venues", "1: connected", "short", (("ballast_gateway_venue_session_state", "{{venue}}"),), "stat"),
        Panel("Venue silence", "", "s", (("ballast_gateway_venue_silence_seconds", "{{venue}}"),)),
        Panel("Order round trip", "Sent to first report", "s",
              _quantiles("ballast_gateway_order_round_trip_seconds", "venue")),
        Panel("Orders and reports", "", "ops",
              (("rate(ballast_gateway_orders_sent_total[1m])", "orders {{venue}}"),
               ("rate(ballast_gateway_reports_posted_total[1m])", "reports {{venue}}"))),
        Panel("Reports not on record", "", "short",
              (("ballast_gateway_reports_unacknowledged_count", "{{venue}}"),)),
        Panel("Accounts to be liquidated", "", "short",
              (('sum by (state) (ballast_risk_accounts_count{state=~"liquidation|bankrupt"})', "{{state}}"),)),
    ),
)  # fmt: skip

_PRICES = Dashboard(
    "prices",
    "Prices",
    (
        Panel("Marks by validity class", "HOLD and STALE permit relief only", "short",
              (("ballast_price_marks_count", "{{validity}}"),)),
        Panel("Age of marks by validity class", "Run time since the oldest quote in use", "s",
              (("ballast_price_mark_age_seconds", "{{validity}}"),)),
        Panel("Since the last frame of marks", "Wall time, as each service hears them", "s",
              (('ballast_log_head_age_seconds{topic="market.marks.v1"}', "{{job}}"),)),
        Panel("Quotes used", "", "ops", (("sum by (source) (rate(ballast_price_quotes_total[1m]))", "{{source}}"),)),
        Panel("Frames", "By worst class in them", "ops",
              (("sum by (validity) (rate(ballast_price_frames_total[1m]))", "{{validity}}"),)),
        Panel("Frame built to accepted", "", "s", _quantiles("ballast_price_frame_accepted_seconds")),
        Panel("Replay clock held", "Share of wall time by reason", "percentunit",
              (("sum by (reason) (rate(ballast_price_clock_held_seconds_total[1m]))", "{{reason}}"),)),
        Panel("Run time", "", "dateTimeAsIso", (("ballast_price_run_time_seconds * 1000", "run time"),), "stat", None),
        Panel("Books published", "Displayed depth that plans stand on", "ops",
              (("sum by (venue) (rate(ballast_gateway_books_published_total[1m]))", "{{venue}}"),)),
    ),
)  # fmt: skip

DASHBOARDS = (_OVERVIEW, _RISK, _LEDGER, _LIQUIDATION, _PRICES)
