"""What steps do inside guests: files, programs, identity, quiescing."""
