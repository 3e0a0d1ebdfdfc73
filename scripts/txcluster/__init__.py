"""A bank in processes: ``node`` is one, ``cluster`` starts and kills them, ``bank`` is what they offer to clients."""
