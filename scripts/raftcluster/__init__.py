"""A replicated store in processes: ``node`` is one, ``cluster`` starts and kills them, ``store`` is its client."""
