"""The benchmark harness. Knows zoo's public face, and no variant by name: suites/*.toml name them."""
