culvert check -L 'tls+mws://127.0.0.1:8443'    # CV0301
