"""One cluster: its worker, the reconciler and what a pass is made of."""
