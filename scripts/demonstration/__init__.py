"""The demo: ``play`` starts the processes, ``node`` is one, ``client`` the other and the narrator."""
