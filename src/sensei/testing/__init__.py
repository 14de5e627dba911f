"""Stand-ins for tests: environments with known answers, solvers, a model server."""
