"""Other libraries, as far as `zoo-bench throughput --against` needs them: one a file, imported only when it is asked for."""
