import FuzzBodies

/// The target of this process; libFuzzer's callback takes no context.
nonisolated(unsafe) var chosen = FuzzTarget.yaml
