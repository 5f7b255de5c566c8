"""How properties are checked: without deadlines, since these tests measure no time and the machine may be busy."""

from hypothesis import HealthCheck, settings

settings.register_profile("executor", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("executor")
