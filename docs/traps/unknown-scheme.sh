culvert check -L 'rely+tls://127.0.0.1:8443'    # CV0301
