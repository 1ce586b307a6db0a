"""The reconciliation a risk officer would sign: computed from the topics alone."""
