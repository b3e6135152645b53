"""The resources that clusters need of a host, and the order in which queued clusters are admitted."""
