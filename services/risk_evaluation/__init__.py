"""Margin of every account at every mark: positions x scenarios, verdicts on reservations, opening of episodes."""
