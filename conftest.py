"""Settings of every test: hypothesis prints how to repeat a failure, and gives no verdict on a slow machine."""

from hypothesis import HealthCheck, settings

settings.register_profile("ballast", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ballast")
