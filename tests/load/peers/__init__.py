"""Other programs under the load of the benchmark: the same driver, event, sink, core and count at the sink as for ours.

Their packages are installed as published, pinned by the lock file of each folder, into `.cache/`. A peer is a small Node
program of ours around them (`<folder>/server.cjs PORT SINK`, `serve.cjs`): a plain HTTP server that gives each hit to the peer
and answers when the peer has done with it. docs/bench.md says what is comparable and what is not.
"""
