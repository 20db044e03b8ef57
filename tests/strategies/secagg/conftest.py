"""Property tests have no time limit of their own: machines are shared and slow at times."""

from hypothesis import settings

settings.register_profile("secagg", deadline=None)
settings.load_profile("secagg")
