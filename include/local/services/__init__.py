"""Stand-ins for services that cannot run on a laptop; each speaks the real service's HTTP protocol."""
