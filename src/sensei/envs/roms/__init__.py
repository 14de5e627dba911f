"""Games that come with the package: source in C, and what it was built to."""
